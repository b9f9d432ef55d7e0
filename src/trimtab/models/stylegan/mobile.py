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
from trimtab.models.stylegan.frozen import assign_tensors, check_size, check_whole, spread_style
from trimtab.models.stylegan.generator import Features, Window, check_window
from trimtab.models.stylegan.mobile_layers import SMALLEST, Base, Block, Latents, ToImage
from trimtab.models.stylegan.preview import Head, Heads, look, tuned
from trimtab.models.stylegan.windows import cut, make_parts, windows_of

HALO: Final = 2  # 1 px by each depthwise convolution
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


class MobileStyleGan(_Layers):
    """A frozen MobileStyleGAN; see ``Generator``.

    Attributes:
        sizes: what determines its shapes.
    """

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
        self.feature_sizes = tuple(sizes.feature_channels)

    @property
    def w_mean(self) -> Float[Tensor, " width"]:
        """The mean style, towards which truncation draws."""
        return self.mapping.w_mean

    def map(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch width"]:
        """Give the style of a latent, without truncation."""
        return self.mapping(z)  # type: ignore[no-any-return]

    def w_plus(
        self, w: Float[Tensor, "batch width"], *, truncation: float = 1.0
    ) -> Float[Tensor, "batch styles width"]:
        """Draw a style towards the mean and repeat it for every layer."""
        return spread_style(w, self.w_mean, styles=self.styles, truncation=truncation)

    def features(
        self, w_plus: Float[Tensor, "batch styles width"], size: int, *, window: Window | None = None
    ) -> Features:
        """Run the network up to the block of one size; see ``Generator.features``."""
        check_size(size, self.feature_sizes)
        parts: dict[int, Window] = {}
        if window is not None:
            check_window(window, size)
            parts = windows_of(window, size, halo=HALO)
        x = self.base(w_plus[:, 0])
        for below in (s for s in self.sizes.block_sizes[1:] if s <= size and s not in parts):
            x = self._block(x, w_plus, below)
        if window is None:
            return Features(x, size, None, x)
        if not parts:
            return Features(cut(x, window), size, window, x)
        values = make_parts(x, parts, lambda part, s, made: self._block(part, w_plus, s, made), halo=HALO)
        return Features(values, size, window, x)

    def image(self, w_plus: Float[Tensor, "batch styles width"]) -> Float[Tensor, "batch 3 rows columns"]:
        """Make pictures: red, green, blue within -1 to 1."""
        return self._finish(self.base(w_plus[:, 0]), w_plus, SMALLEST)

    def image_from(
        self, features: Features, w_plus: Float[Tensor, "batch styles width"]
    ) -> Float[Tensor, "batch 3 rows columns"]:
        """Make pictures from features; see ``Generator.image_from``."""
        check_whole(features)
        return self._finish(features.values, w_plus, features.size)

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

    def _finish(self, x: Tensor, w_plus: Tensor, size: int) -> Tensor:
        for above in (s for s in self.sizes.block_sizes if s > size):
            x = self._block(x, w_plus, above)
        picture: Tensor = self.to_image(x, w_plus[:, -1])
        return picture.clamp(-1, 1)

    def _block(self, x: Tensor, w_plus: Tensor, size: int, window: Window | None = None) -> Tensor:
        first = 3 * (self.sizes.block_sizes.index(size) - 1) + 1
        return self.blocks[f"b{size}"](x, w_plus[:, first : first + 3], window)  # type: ignore[no-any-return]
