"""The layers of StyleGAN2, written from its formulas; all weights are buffers, so that nothing can learn.

Source: arXiv:1912.04958, sections 2.2, 3.2 and 4.1, and appendix B. Names of buffers are those of published files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.models.stylegan.generator import Window
from trimtab.models.stylegan.windows import cut

Form: TypeAlias = Literal["weight", "activation"]
"""What a style scales: a copy of the weight for each picture, or the activations. The results are equal."""

SLOPE: Final = 0.2
GAIN: Final = math.sqrt(2)
TINY: Final = 1e-8
FILTER: Final = 4  # taps of the smoothing filter along each side


class Dense(nn.Module):
    """A fully connected layer whose stored weights are larger than those it uses.

    What is stored is divided by ``rate``, so that the layer learned ``rate`` times as fast.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, outputs: int, *, rate: float = 1.0) -> None:
        """Make a layer without values."""
        super().__init__()
        self.register_buffer("weight", torch.empty(outputs, inputs))
        self.register_buffer("bias", torch.empty(outputs))
        self.rate = rate

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        """Apply the layer, without an activation."""
        gain = self.rate / math.sqrt(self.weight.shape[1])
        return F.linear(x * gain, self.weight, self.bias * self.rate)


def style_of(z: Float[Tensor, "batch latent"], layers: Iterable[nn.Module]) -> Float[Tensor, "batch width"]:
    """Give the style of a latent: scaled to length, then through fully connected layers."""
    x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + TINY)
    for layer in layers:
        x = activate(layer(x)) * GAIN
    return x


class Convolution(nn.Module):
    """A 3 x 3 convolution scaled by a style and demodulated; then noise, bias and leaky ReLU.

    ``prepare`` must be called once its values are there.
    """

    weight: Tensor
    bias: Tensor
    noise_const: Tensor
    noise_strength: Tensor
    resample_filter: Tensor
    energies: Float[Tensor, "inputs outputs"]  # sum of the squares of each kernel
    noise: Float[Tensor, "rows columns"] | None
    shift: Float[Tensor, "outputs 1 1"]

    def __init__(self, inputs: int, outputs: int, *, w_width: int, size: int, up: bool, clamp: float | None) -> None:
        """Make a layer without values.

        Args:
            inputs: channels.
            outputs: channels.
            w_width: numbers in a style.
            size: rows and columns of what it makes.
            up: whether that is twice as large as its input.
            clamp: largest magnitude of an output.
        """
        super().__init__()
        self.register_buffer("weight", torch.empty(outputs, inputs, 3, 3))
        self.register_buffer("bias", torch.empty(outputs))
        self.register_buffer("noise_const", torch.empty(size, size))
        self.register_buffer("noise_strength", torch.empty(()))
        self.register_buffer("resample_filter", torch.empty(FILTER, FILTER))
        self.affine = Dense(w_width, inputs)
        self.up, self.clamp = up, clamp
        self.form: Form = "activation"
        for name in ("energies", "noise", "shift"):
            self.register_buffer(name, None, persistent=False)

    def prepare(self, *, form: Form, noisy: bool) -> None:
        """Compute what depends on the stored values alone, which never change; the activation's gain goes in here."""
        self.form = form
        self.energies = (self.weight * self.weight).sum(dim=(2, 3)).T.contiguous()
        self.noise = self.noise_const * (self.noise_strength * GAIN) if noisy else None
        self.shift = (self.bias * GAIN)[:, None, None]

    def forward(
        self, x: Float[Tensor, "batch inputs height width"], w: Float[Tensor, "batch style"], window: Window | None
    ) -> Float[Tensor, "batch outputs rows columns"]:
        """Apply the layer; ``window`` is the part of the map that is made where the input is a part."""
        style = self.affine(w)
        scale = torch.rsqrt((style * style) @ self.energies + TINY) * GAIN
        y = self._scaled_weights(x, style, scale) if self.form == "weight" else self._scaled(x, style, scale)
        if self.noise is not None:
            y.add_(self.noise if window is None else cut(self.noise, window))
        return activate(y.add_(self.shift), self.clamp)

    def _scaled(self, x: Tensor, style: Tensor, scale: Tensor) -> Tensor:
        return scaled(self._convolve(scaled(x, style), self.weight, groups=1), scale)

    def _scaled_weights(self, x: Tensor, style: Tensor, scale: Tensor) -> Tensor:
        batch, channels, rows, columns = x.shape
        weight = self.weight * style[:, None, :, None, None] * scale[:, :, None, None, None]
        y = self._convolve(x.reshape(1, batch * channels, rows, columns), weight.flatten(0, 1), groups=batch)
        return y.reshape(batch, -1, *y.shape[2:])

    def _convolve(self, x: Tensor, weight: Tensor, *, groups: int) -> Tensor:
        if not self.up:
            return F.conv2d(x, weight, padding=1, groups=groups)
        outputs, inputs = weight.shape[0] // groups, weight.shape[1]
        swapped = weight.reshape(groups, outputs, inputs, 3, 3).transpose(1, 2).flatten(0, 1)
        return smooth(F.conv_transpose2d(x, swapped, stride=2, groups=groups), self.resample_filter, (1, 1))


class ToRgb(nn.Module):
    """A 1 x 1 convolution to red, green and blue, scaled by a style and not demodulated."""

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, *, w_width: int, clamp: float | None) -> None:
        """Make a layer without values."""
        super().__init__()
        self.register_buffer("weight", torch.empty(3, inputs, 1, 1))
        self.register_buffer("bias", torch.empty(3))
        self.affine = Dense(w_width, inputs)
        self.clamp = clamp

    def forward(
        self, x: Float[Tensor, "batch inputs rows columns"], w: Float[Tensor, "batch style"]
    ) -> Float[Tensor, "batch 3 rows columns"]:
        """Apply the layer; the style scales the weight, which is smaller than any map."""
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        weight = self.weight[:, :, 0, 0] * style[:, None, :]  # (batch, 3, inputs)
        rgb = torch.baddbmm(self.bias[:, None], weight, x.flatten(2)).reshape(-1, 3, *x.shape[2:])
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)


class _Activation(torch.autograd.Function):
    """Leaky ReLU and clamp in the memory of their input, of which only the result is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, clamp: float | None) -> Tensor:
        y = F.leaky_relu_(x, SLOPE)
        if clamp is not None:
            y.clamp_(-clamp, clamp)
        ctx.mark_dirty(x)
        ctx.save_for_backward(y)
        ctx.clamp = clamp
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        back = torch.ops.aten.leaky_relu_backward(grad, y, SLOPE, True)
        if ctx.clamp is not None:
            back.masked_fill_(y.abs() >= ctx.clamp, 0)
        return back, None


def activate(x: Float[Tensor, "*shape"], clamp: float | None = None) -> Float[Tensor, "*shape"]:
    """Apply leaky ReLU and clamp, in the memory of ``x``."""
    result: Tensor = _Activation.apply(x, clamp)  # type: ignore[no-untyped-call]
    return result


class _Scaled(torch.autograd.Function):
    """A product whose gradient to one side is summed in float64."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, by: Tensor) -> Tensor:
        ctx.save_for_backward(x, by)
        return x * by[:, :, None, None]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        x, by = ctx.saved_tensors
        to_x, to_by = ctx.needs_input_grad
        return (
            grad * by[:, :, None, None] if to_x else None,
            (grad * x).sum(dim=(2, 3), dtype=torch.float64).to(by) if to_by else None,
        )


def scaled(
    x: Float[Tensor, "batch channels rows columns"], by: Float[Tensor, "batch channels"]
) -> Float[Tensor, "batch channels rows columns"]:
    """Scale each channel.

    Gradients to the numbers are summed in float64 and then rounded: pixels outside a window, which add nothing, change
    the order in which the others are summed, but not the bits that are left.
    """
    result: Tensor = _Scaled.apply(x, by)  # type: ignore[no-untyped-call]
    return result


def smooth(
    x: Float[Tensor, "batch channels height width"], kernel: Float[Tensor, "4 4"], padding: tuple[int, int]
) -> Float[Tensor, "batch channels rows columns"]:
    """Filter each channel after zeros were put between its pixels, which takes a gain of 4.

    Args:
        x: what was made twice as large.
        kernel: sums to 1.
        padding: zeros before and behind, along both sides.
    """
    channels, (before, behind) = x.shape[1], padding
    weight = (kernel.flip(0, 1) * 4).expand(channels, 1, FILTER, FILTER)
    if before == behind:
        return F.conv2d(x, weight, padding=before, groups=channels)
    return F.conv2d(F.pad(x, (before, behind, before, behind)), weight, groups=channels)


def enlarge(
    image: Float[Tensor, "batch channels rows columns"], kernel: Float[Tensor, "4 4"]
) -> Float[Tensor, "batch channels twice_rows twice_columns"]:
    """Make a picture twice as large: zeros between its pixels, then the smoothing filter."""
    batch, channels, rows, columns = image.shape
    spread = image.new_zeros(batch, channels, rows, 2, columns, 2)
    spread[:, :, :, 0, :, 0] = image
    return smooth(spread.reshape(batch, channels, 2 * rows, 2 * columns), kernel, (2, 1))
