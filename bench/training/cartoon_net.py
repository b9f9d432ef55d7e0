"""A StyleGAN2 that can learn: the tensors of ``StyleGan2`` by their official names, and a forward pass with gradients.

The network in trimtab is frozen by construction, so that the pass is written out here once more; what is exported is
loaded by ``load_generator`` and makes the same pictures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from trimtab.models.stylegan.found import resample_filter
from trimtab.models.stylegan.mean import mean_style
from trimtab.models.stylegan.stylegan2 import MAPPING_RATE, Sizes, tensor_shapes

GAIN, SLOPE, TINY = math.sqrt(2), 0.2, 1e-8
HINT_SIZES = (16, 32)
FIXED = ("noise_const", "noise_strength", "resample_filter", "w_avg")


class CartoonNet:
    """Tensors that learn, and the pictures they make.

    Stored weights of the mapping are divided by its rate only on the way out: the layers learn at the common rate.
    """

    def __init__(self, sizes: Sizes, *, hints: int, seed: int) -> None:
        """Begin with random numbers, as published networks do.

        Args:
            sizes: of the network.
            hints: maps that the features of some blocks are also asked for; they are never exported.
            seed: of the random numbers.
        """
        source = torch.Generator().manual_seed(seed)
        self.sizes = sizes
        self.taps = torch.from_numpy(resample_filter())
        self.tensors: dict[str, Tensor] = {}
        self.hints: dict[str, Tensor] = {}
        for name, shape in tensor_shapes(sizes).items():
            if name.endswith(FIXED):
                continue
            value = torch.randn(shape, generator=source)
            if name.endswith("bias"):
                value = torch.ones(shape) if "affine" in name else torch.zeros(shape)
            self.tensors[name] = value.requires_grad_()
        for size in HINT_SIZES:
            self.hints[f"b{size}"] = torch.zeros(hints, sizes.channels(size)).requires_grad_()

    def map(self, latents: Tensor) -> Tensor:
        """Give the styles, (batch, width), of latents that are normalised."""
        x = latents
        for index in range(self.sizes.mapping_layers):
            x = F.leaky_relu(self._dense(f"mapping.fc{index}", x), SLOPE) * GAIN
        return x

    def pictures(self, w: Tensor, *, upto: int) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Give the pictures so far at every size up to one, and the maps that are hints, by size."""
        x, skip = self.tensors["synthesis.b4.const"].expand(len(w), -1, -1, -1), None
        found: dict[int, Tensor] = {}
        hints: dict[int, Tensor] = {}
        for size in (s for s in self.sizes.block_sizes if s <= upto):
            block = f"synthesis.b{size}"
            if size > 4:
                x = self._convolution(f"{block}.conv0", x, w, up=True)
            x = self._convolution(f"{block}.conv1", x, w, up=False)
            if size in HINT_SIZES:
                weight = self.hints[f"b{size}"]
                hints[size] = (weight @ x.flatten(2)).float().reshape(len(x), -1, size, size)
            rgb = self._to_rgb(f"{block}.torgb", x, w)
            skip = rgb if skip is None else rgb + self._enlarged(skip)
            found[size] = skip
        return found, hints

    def export(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give all tensors of the frozen network, from values for those that learn."""
        rates = {name: MAPPING_RATE if name.startswith("mapping.") else 1.0 for name in values}
        state = {name: (value.detach() / rates[name]).clone() for name, value in values.items()}
        for name, shape in tensor_shapes(self.sizes).items():
            if name.endswith("resample_filter"):
                state[name] = self.taps.clone()
            elif name.endswith(("noise_const", "noise_strength")):
                state[name] = torch.zeros(shape)
        own, self.tensors = self.tensors, dict(values)
        state["mapping.w_avg"] = mean_style(lambda z: self.map(normalise(z)), self.sizes.z_width)
        self.tensors = own
        return state

    def _dense(self, name: str, x: Tensor) -> Tensor:
        weight, bias = (self.tensors[f"{name}.{kind}"] for kind in ("weight", "bias"))
        return F.linear(x, weight / math.sqrt(weight.shape[1]), bias)

    def _convolution(self, name: str, x: Tensor, w: Tensor, *, up: bool) -> Tensor:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        with torch.autocast("cpu", enabled=False):
            style = self._dense(f"{name}.affine", w)
            scale = torch.rsqrt(style.square() @ weight.square().sum(dim=(2, 3)).T + TINY)
        x = x * style[:, :, None, None].to(x.dtype)
        if up:
            y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            y = F.conv2d(y, self._filter(y), padding=1, groups=y.shape[1])
        else:
            y = F.conv2d(x, weight, padding=1)
        return F.leaky_relu(
            y * (GAIN * scale)[:, :, None, None].to(y.dtype) + (GAIN * bias)[:, None, None].to(y.dtype), SLOPE
        )

    def _to_rgb(self, name: str, x: Tensor, w: Tensor) -> Tensor:
        weight = self.tensors[f"{name}.weight"]
        style = self._dense(f"{name}.affine", w) / math.sqrt(weight.shape[1])
        rgb = (weight[:, :, 0, 0] * style[:, None]) @ x.flatten(2)
        return rgb.float().reshape(len(x), 3, *x.shape[2:]) + self.tensors[f"{name}.bias"][:, None, None]

    def _enlarged(self, picture: Tensor) -> Tensor:
        batch, channels, rows, columns = picture.shape
        spread = torch.stack([picture, torch.zeros_like(picture)], dim=4).flatten(3)
        spread = torch.stack([spread, torch.zeros_like(spread)], dim=3).reshape(batch, channels, 2 * rows, 2 * columns)
        with torch.autocast("cpu", enabled=False):  # the picture itself keeps its bits
            return F.conv2d(F.pad(spread, (2, 1, 2, 1)), self._filter(picture), groups=channels)

    def _filter(self, like: Tensor) -> Tensor:
        """The taps are the same read backwards; zeros between the pixels take a gain of 4."""
        return (self.taps * 4).to(like.dtype).expand(like.shape[1], 1, -1, -1)


def normalise(z: Tensor) -> Tensor:
    """Give latents a mean square of 1, as a generator's mapping does first."""
    return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + TINY)
