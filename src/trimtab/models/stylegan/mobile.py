"""MobileStyleGAN with a style for every layer (W+), of the constants of its published graph.

Source: arXiv:2104.04767, section 3; noise maps, gains and the demodulation, which depends on no style, are folded into
the constants.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.core.errors import RangeError
from trimtab.models.stylegan.frozen import FrozenGenerator, assign_tensors
from trimtab.models.stylegan.generator import Features, Window
from trimtab.models.stylegan.mobile_layers import SMALLEST, Base, Block, Latents, ToImage
from trimtab.models.stylegan.preview import Head, Heads, look, tuned

FEATURE_SIZES: Final = (32, 64, 128, 256)


@dataclass(frozen=True)
class MobileSizes:
    """What determines the shapes of a MobileStyleGAN.

    Attributes:
        channels: of the blocks' maps, lowest first; the first is 4 x 4 and each is twice as large as the one before.
            Pictures are twice as large as the last.
        width: numbers in a latent and in a style.
    """

    channels: tuple[int, ...]
    width: int

    def __post_init__(self) -> None:
        """Refuse what no network can be made of.

        Raises:
            RangeError: as it says.
        """
        if not 2 <= len(self.channels) <= 10 or not all(4 <= c <= 1 << 16 and c % 4 == 0 for c in self.channels):
            raise RangeError(f"channels {self.channels}: allowed are 2 to 10 multiples of 4. Is this a MobileStyleGAN?")
        if not 1 <= self.width <= 1 << 16:
            raise RangeError(f"width {self.width}: allowed is 1 to {1 << 16}. Is this a MobileStyleGAN?")

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """Rows and columns of the blocks' maps, lowest first."""
        return tuple(SMALLEST << index for index in range(len(self.channels)))

    @property
    def feature_channels(self) -> dict[int, int]:
        """Channels of the maps at which features can be taken, by their size."""
        return {s: c for s, c in zip(self.block_sizes, self.channels, strict=True) if s in FEATURE_SIZES}

    @property
    def resolution(self) -> int:
        """Rows and columns of a picture."""
        return 2 * self.block_sizes[-1]

    @property
    def styles(self) -> int:
        """Number of styles in a w+: one at the lowest size, three for each other, one for the picture."""
        return 3 * len(self.channels) - 1

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Styles that a drag moves together: a doubling goes with the convolution behind it."""
        pairs = [((3 * k + 1, 3 * k + 2), (3 * k + 3,)) for k in range(len(self.channels) - 1)]
        return ((0,), *(group for pair in pairs for group in pair), (self.styles - 1,))


class _Layers(nn.Module):
    """All layers of a network, without values and without memory for them."""

    def __init__(self, sizes: MobileSizes) -> None:
        super().__init__()
        self.sizes = sizes
        channels, width = sizes.channels, sizes.width
        below = zip(channels, channels[1:], sizes.block_sizes[1:], strict=False)
        with torch.device("meta"):
            self.mapping = Latents(width)
            self.base = Base(channels[0], width)
            self.blocks = nn.ModuleDict({f"b{s}": Block(i, o, width=width, size=s) for i, o, s in below})
            self.to_image = ToImage(channels[-1], width)
            self.heads = Heads(sizes.feature_channels)


def tensor_shapes(sizes: MobileSizes) -> dict[str, tuple[int, ...]]:
    """Give the shape of every tensor of a network, by its name."""
    return {name: tuple(tensor.shape) for name, tensor in _Layers(sizes).state_dict().items()}


class MobileStyleGan(_Layers, FrozenGenerator):
    """A frozen MobileStyleGAN; see ``Generator``.

    Attributes:
        sizes: what determines its shapes.
    """

    halo = 2  # 1 px by each depthwise convolution
    mapping: Latents

    def __init__(self, sizes: MobileSizes, tensors: Mapping[str, Tensor]) -> None:
        """Make a network of tensors, which it takes over without a copy.

        Raises:
            RangeError: a tensor is missing, unknown or of another shape or type.
        """
        super().__init__(sizes)
        assign_tensors(self, tensors)
        self.eval()
        self.resolution, self.z_width, self.w_width = sizes.resolution, sizes.width, sizes.width
        self.styles, self.groups = sizes.styles, sizes.groups
        self.block_sizes = sizes.block_sizes
        self.feature_sizes = tuple(sizes.feature_channels)

    @property
    def w_mean(self) -> Float[Tensor, " width"]:
        """The mean style, towards which truncation draws."""
        return self.mapping.w_mean

    def preview(self, features: Features) -> Float[Tensor, "batch 3 height width"]:
        """Give what a linear head sees in the features, at twice their size."""
        return look(features, self.heads.of)

    def preview_near(
        self, w_plus: Float[Tensor, "1 styles width"], image: Float[Tensor, "1 3 rows columns"]
    ) -> Callable[[Features], Tensor]:
        """Give a preview for pictures near a known one; see ``Generator.preview_near``."""

        @functools.cache
        def head_of(size: int) -> Head:
            with torch.no_grad():
                return tuned(self.heads.of(size), self.features(w_plus, size).values, image)

        return lambda features: look(features, head_of)

    def _lowest(self, w_plus: Tensor) -> Tensor:
        return self.base(w_plus[:, 0])  # type: ignore[no-any-return]

    def _block(self, x: Tensor, w_plus: Tensor, size: int, window: Window | None = None) -> Tensor:
        first = 3 * (self.block_sizes.index(size) - 1) + 1
        return self.blocks[f"b{size}"](x, w_plus[:, first : first + 3], window)  # type: ignore[no-any-return]

    def _picture(self, x: Tensor, skip: Tensor | None, w_plus: Tensor) -> Tensor:  # noqa: ARG002
        return self.to_image(x, w_plus[:, -1])  # type: ignore[no-any-return]
