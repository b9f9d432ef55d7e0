"""The layers of MobileStyleGAN; all weights are buffers, so that nothing can learn.

Source: arXiv:2104.04767, section 3; gains, noise strengths and the demodulation, which depends on no style, are folded
into the weights.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.models.stylegan.generator import Window
from trimtab.models.stylegan.haar import inverse_haar
from trimtab.models.stylegan.layers import activate, scaled, style_of
from trimtab.models.stylegan.windows import cut

SMALLEST: Final = 4
MAPPING_LAYERS: Final = 8


class Folded(nn.Module):
    """A fully connected layer whose gains are in its weights."""

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        """Make a layer without values."""
        super().__init__()
        self.register_buffer("weight", torch.empty(outputs, inputs))
        self.register_buffer("bias", torch.empty(outputs))

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        """Apply the layer, without an activation."""
        return F.linear(x, self.weight, self.bias)


class Latents(nn.Module):
    """From latents to styles."""

    w_mean: Tensor

    def __init__(self, width: int) -> None:
        """Make the layers without values."""
        super().__init__()
        self.register_buffer("w_mean", torch.empty(width))
        for index in range(MAPPING_LAYERS):
            self.add_module(f"fc{index}", Folded(width, width))

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch width"]:
        """Give the style of a latent."""
        return style_of(z, self.children())


class Separable(nn.Module):
    """A 3 x 3 convolution of each channel and one across channels, scaled by a style; noise, bias and leaky ReLU."""

    depthwise: Tensor
    pointwise: Tensor
    noise: Tensor
    bias: Tensor

    def __init__(self, inputs: int, outputs: int, *, width: int, size: int) -> None:
        """Make a layer without values."""
        super().__init__()
        self.style = Folded(width, inputs)
        self.register_buffer("depthwise", torch.empty(inputs, 1, 3, 3))
        self.register_buffer("pointwise", torch.empty(outputs, inputs, 1, 1))
        self.register_buffer("noise", torch.empty(size, size))
        self.register_buffer("bias", torch.empty(outputs))
        self.gain = 1 / math.sqrt(9 * inputs)

    def forward(
        self, x: Float[Tensor, "batch inputs rows columns"], w: Float[Tensor, "batch style"], window: Window | None
    ) -> Float[Tensor, "batch outputs rows columns"]:
        """Apply the layer; ``window`` is the part of the map that is made where the input is a part."""
        spread = F.conv2d(scaled(x, self.style(w) * self.gain), self.depthwise, padding=1, groups=x.shape[1])
        y = F.conv2d(spread, self.pointwise, self.bias)
        return activate(y.add_(self.noise if window is None else cut(self.noise, window)))


class Base(nn.Module):
    """The lowest block: a constant, scaled by a style and convolved."""

    const: Tensor
    weight: Tensor
    noise: Tensor
    bias: Tensor

    def __init__(self, channels: int, width: int) -> None:
        """Make the layers without values."""
        super().__init__()
        self.style = Folded(width, channels)
        self.register_buffer("const", torch.empty(channels, SMALLEST, SMALLEST))
        self.register_buffer("weight", torch.empty(channels, channels, 3, 3))
        self.register_buffer("noise", torch.empty(SMALLEST, SMALLEST))
        self.register_buffer("bias", torch.empty(channels))
        self.gain = 1 / math.sqrt(9 * channels)

    def forward(self, w: Float[Tensor, "batch style"]) -> Float[Tensor, "batch channels 4 4"]:
        """Give the lowest map."""
        const = self.const * (self.style(w) * self.gain)[:, :, None, None]
        y = activate(F.conv2d(const, self.weight, self.bias, padding=1).add_(self.noise))
        return y.contiguous(memory_format=torch.channels_last)  # all above inherit it: twice as fast on two threads


class Block(nn.Module):
    """The layers of one size: a doubling and two convolutions."""

    def __init__(self, inputs: int, outputs: int, *, width: int, size: int) -> None:
        """Make the layers without values."""
        super().__init__()
        self.up = Folded(width, inputs)
        self.conv1 = Separable(inputs // 4, outputs, width=width, size=size)
        self.conv2 = Separable(outputs, outputs, width=width, size=size)

    def forward(
        self,
        x: Float[Tensor, "batch inputs height width"],
        w: Float[Tensor, "batch 3 style"],
        window: Window | None = None,
    ) -> Float[Tensor, "batch outputs rows columns"]:
        """Give the block's map, of which ``window`` is made where the input is a part."""
        halved = scaled(x, self.up(w[:, 0]) / 2)
        x = self.conv1(inverse_haar(halved), w[:, 1], window)
        return self.conv2(x, w[:, 2], window)  # type: ignore[no-any-return]


class ToImage(nn.Module):
    """From the highest map to red, green and blue, twice as large; scaled by a style."""

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, width: int) -> None:
        """Make the layer without values."""
        super().__init__()
        self.style = Folded(width, inputs)
        self.register_buffer("weight", torch.empty(12, inputs))
        self.register_buffer("bias", torch.empty(12))
        self.gain = 1 / math.sqrt(inputs)

    def forward(
        self, x: Float[Tensor, "batch inputs rows columns"], w: Float[Tensor, "batch style"]
    ) -> Float[Tensor, "batch 3 twice_rows twice_columns"]:
        """Give the picture, not yet clamped."""
        weight = self.weight * (self.style(w) * (self.gain / 2))[:, None, :]
        bands = torch.baddbmm((self.bias / 2)[:, None], weight, x.flatten(2))
        return inverse_haar(bands.reshape(-1, 12, *x.shape[2:]))
