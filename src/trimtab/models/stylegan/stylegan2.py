"""StyleGAN2 in plain PyTorch: any resolution and channels, state dicts in the official names.

Source: arXiv:1912.04958 (architecture "skip" with weight demodulation); arXiv:2006.06676 for the names of files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.core.errors import RangeError
from trimtab.models.stylegan.frozen import FrozenGenerator, assign_tensors
from trimtab.models.stylegan.generator import Features, Window
from trimtab.models.stylegan.layers import FILTER, Convolution, Dense, Form, ToRgb, enlarge, style_of
from trimtab.models.stylegan.windows import cut

SMALLEST: Final = 4
MAPPING_RATE: Final = 0.01
MOST_RESOLUTION: Final = 4096
MOST_WIDTH: Final = 4096
"""Of latents and styles, which published networks have 512 of; thousands of them are made to know their mean."""
MOST_COUNT: Final = 1 << 20


@dataclass(frozen=True)
class Sizes:
    """What determines the shapes of a StyleGAN2.

    Attributes:
        resolution: of its pictures; a power of two.
        z_width: numbers in a latent.
        w_width: numbers in a style.
        channel_base: channels of a block times its size, as far as ``channel_max`` allows.
        channel_max: most channels of a block.
        mapping_layers: layers from latent to style.
        clamp: largest magnitude of activations; None where there is none.
    """

    resolution: int
    z_width: int = 512
    w_width: int = 512
    channel_base: int = 32768
    channel_max: int = 512
    mapping_layers: int = 8
    clamp: float | None = 256.0

    def __post_init__(self) -> None:
        """Refuse what no network can be made of.

        Raises:
            RangeError: as it says.
        """
        side = self.resolution
        if not (2 * SMALLEST <= side <= MOST_RESOLUTION) or side & (side - 1):
            allowed = f"powers of two from {2 * SMALLEST} to {MOST_RESOLUTION}"
            raise RangeError(f"resolution {side}: allowed are {allowed}. Is this a StyleGAN2?")
        for name in ("z_width", "w_width", "channel_base", "channel_max", "mapping_layers"):
            most = MOST_WIDTH if name.endswith("width") else MOST_COUNT
            if not 1 <= getattr(self, name) <= most:
                raise RangeError(f"{name} {getattr(self, name)}: allowed is 1 to {most}. Is this a StyleGAN2?")
        if self.channels(side) < 1:
            raise RangeError(f"channel_base {self.channel_base}: allowed is at least the resolution, {side}.")

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Rows and columns of the blocks' maps, lowest first."""
        return tuple(2**power for power in range(2, self.resolution.bit_length()))

    @property
    def styles(self) -> int:
        """Number of styles in a w+, which published code calls num_ws."""
        return 2 * int(math.log2(self.resolution)) - 2

    def channels(self, size: int) -> int:
        """Give the channels of the block of a size."""
        return min(self.channel_base // size, self.channel_max)


class Latents(nn.Module):
    """From latents to styles."""

    w_avg: Tensor

    def __init__(self, sizes: Sizes) -> None:
        """Make the layers without values."""
        super().__init__()
        self.register_buffer("w_avg", torch.empty(sizes.w_width))
        for index in range(sizes.mapping_layers):
            inputs = sizes.w_width if index else sizes.z_width
            self.add_module(f"fc{index}", Dense(inputs, sizes.w_width, rate=MAPPING_RATE))

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch width"]:
        """Give the style of a latent."""
        return style_of(z, self.children())


class Block(nn.Module):
    """The layers of one size: two convolutions (one at the lowest size) and a picture."""

    const: Tensor
    resample_filter: Tensor

    def __init__(self, size: int, sizes: Sizes) -> None:
        """Make the layers without values."""
        super().__init__()
        channels, width, clamp = sizes.channels(size), sizes.w_width, sizes.clamp
        self.size = size
        self.register_buffer("resample_filter", torch.empty(FILTER, FILTER))
        if size == SMALLEST:
            self.register_buffer("const", torch.empty(channels, size, size))
        else:
            below = sizes.channels(size // 2)
            self.conv0 = Convolution(below, channels, w_width=width, size=size, up=True, clamp=clamp)
        self.conv1 = Convolution(channels, channels, w_width=width, size=size, up=False, clamp=clamp)
        self.torgb = ToRgb(channels, w_width=width, clamp=clamp)
        self.first = 0 if size == SMALLEST else 2 * int(math.log2(size)) - 5  # index of its lowest style

    def forward(
        self,
        x: Float[Tensor, "batch inputs height width"] | None,
        w_plus: Float[Tensor, "batch styles style"],
        window: Window | None = None,
    ) -> Float[Tensor, "batch outputs rows columns"]:
        """Give the block's map, of which ``window`` is made where the input is a part."""
        if x is None:
            lowest: Tensor = self.conv1(self.const.expand(w_plus.shape[0], -1, -1, -1), w_plus[:, 0], None)
            return lowest.contiguous(memory_format=torch.channels_last)  # all above inherit it: a tenth faster
        x = self.conv0(x, w_plus[:, self.first], window)
        return self.conv1(x, w_plus[:, self.first + 1], window)  # type: ignore[no-any-return]

    def picture(
        self,
        x: Float[Tensor, "batch channels rows columns"],
        w_plus: Float[Tensor, "batch styles style"],
        skip: Float[Tensor, "batch 3 height width"] | None,
        part: Window | None = None,
    ) -> Float[Tensor, "batch 3 rows columns"]:
        """Add this block's picture to the one so far; its style is the first of the next block's.

        Args:
            x: the block's map.
            w_plus: one style a layer.
            skip: the picture so far; None at the lowest block.
            part: of the enlarged ``skip`` that ``x`` covers; None is all of it.
        """
        rgb: Tensor = self.torgb(x, w_plus[:, 1 if self.size == SMALLEST else self.first + 2])
        if skip is None:
            return rgb
        enlarged = enlarge(skip, self.resample_filter)
        return rgb + (enlarged if part is None else cut(enlarged, part))


class _Layers(nn.Module):
    """All layers of a network, without values and without memory for them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        with torch.device("meta"):
            self.mapping = Latents(sizes)
            self.synthesis = nn.ModuleDict({f"b{size}": Block(size, sizes) for size in sizes.block_sizes})


def tensor_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Give the shape of every tensor of a network, by its official name."""
    return {name: tuple(tensor.shape) for name, tensor in _Layers(sizes).state_dict().items()}


class StyleGan2(_Layers, FrozenGenerator):
    """A frozen StyleGAN2; see ``Generator``.

    Attributes:
        sizes: what determines its shapes.
    """

    halo = 3  # 2 px by the transposed convolution and the filter behind it, 1 by the second convolution
    mapping: Latents

    def __init__(
        self, sizes: Sizes, tensors: Mapping[str, Tensor], *, form: Form = "activation", noisy: bool = True
    ) -> None:
        """Make a network of official tensors, which it takes over without a copy.

        Args:
            sizes: what determines its shapes.
            tensors: by their official names, in float32.
            form: what styles scale. Activations are faster where gradients to styles are needed.
            noisy: whether the stored noise is added.

        Raises:
            RangeError: a tensor is missing, unknown or of another shape or type.
        """
        super().__init__(sizes)
        assign_tensors(self, tensors)
        for layer in self.modules():
            if isinstance(layer, Convolution):
                layer.prepare(form=form, noisy=noisy)
        self.eval()
        self.resolution, self.z_width, self.w_width = sizes.resolution, sizes.z_width, sizes.w_width
        self.styles = sizes.styles
        self.groups: tuple[tuple[int, ...], ...] = tuple((index,) for index in range(sizes.styles))
        self.block_sizes = self.feature_sizes = sizes.block_sizes

    @property
    def w_mean(self) -> Float[Tensor, " width"]:
        """The mean style, towards which truncation draws."""
        return self.mapping.w_avg

    def preview(self, features: Features) -> Float[Tensor, "batch 3 height width"]:
        """Give the picture as far as it was made, at the size of the highest block that was computed whole."""
        assert features.skip is not None
        return features.skip.detach().clamp(-1, 1)

    def preview_near(
        self,
        w_plus: Float[Tensor, "1 styles width"],  # noqa: ARG002
        image: Float[Tensor, "1 3 rows columns"],  # noqa: ARG002
    ) -> Callable[[Features], Tensor]:
        """Give a preview for pictures near a known one: ``preview``, which knows no better."""
        return self.preview

    def _lowest(self, w_plus: Tensor) -> Tensor:
        return self._of(SMALLEST)(None, w_plus)  # type: ignore[no-any-return]

    def _block(self, x: Tensor, w_plus: Tensor, size: int, window: Window | None = None) -> Tensor:
        return self._of(size)(x, w_plus, window)  # type: ignore[no-any-return]

    def _draw(
        self, x: Tensor, skip: Tensor | None, w_plus: Tensor, size: int, part: Window | None = None
    ) -> Tensor | None:
        return self._of(size).picture(x, w_plus, skip, part)

    def _picture(self, x: Tensor, skip: Tensor | None, w_plus: Tensor) -> Tensor:  # noqa: ARG002
        assert skip is not None
        return skip

    def _of(self, size: int) -> Block:
        block = self.synthesis[f"b{size}"]
        assert isinstance(block, Block)
        return block
