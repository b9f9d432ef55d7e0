"""What all generators here do alike: take tensors over, repeat styles, continue from block to block, whole or in part.

A kind of generator says what its lowest block, its other blocks and its pictures are made of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import astuple
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.core.errors import RangeError, did_you_mean
from trimtab.models.stylegan.generator import Features, Window, check_window
from trimtab.models.stylegan.windows import cut, made_above, make_parts, needed_below, windows_of, within

REMEDY = "Import the generator again."
Drawn: TypeAlias = tuple[Tensor, Tensor | None]
"""A block's map, and the picture so far where the network keeps one."""


def assign_tensors(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors into the buffers of a network, without a copy.

    Raises:
        RangeError: a tensor is missing, unknown, or of another shape or type.
    """
    wanted = net.state_dict()
    for name in tensors.keys() - wanted.keys():
        raise RangeError(f"tensor {name!r:.100} has no place in the generator. {did_you_mean(name, wanted)}")
    for name, place in wanted.items():
        if name not in tensors:
            raise RangeError(f"the generator's tensor {name!r} is missing. {REMEDY}")
        given = tensors[name]
        if given.shape != place.shape or given.dtype != torch.float32:
            found, expected = (f"{list(shape)}" for shape in (given.shape, place.shape))
            raise RangeError(f"{name!r} is {given.dtype} {found}; expected is torch.float32 {expected}. {REMEDY}")
    net.load_state_dict({name: tensor.detach() for name, tensor in tensors.items()}, assign=True)


class FrozenGenerator(nn.Module, ABC):
    """A network of blocks, each twice as large as the one below; see ``Generator``.

    Attributes:
        halo: pixels of a block's map that are wrong along an edge where its input was cut.
        block_sizes: rows and columns of the blocks' maps, lowest first.
    """

    halo: ClassVar[int]
    mapping: nn.Module
    resolution: int
    z_width: int
    w_width: int
    styles: int
    groups: tuple[tuple[int, ...], ...]
    block_sizes: tuple[int, ...]
    feature_sizes: tuple[int, ...]
    card_sha256: str = ""

    @property
    @abstractmethod
    def w_mean(self) -> Float[Tensor, " width"]:
        """The mean style, towards which truncation draws."""

    def map(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch width"]:
        """Give the style of a latent, without truncation."""
        return self.mapping(z)  # type: ignore[no-any-return]

    def w_plus(
        self, w: Float[Tensor, "batch width"], *, truncation: float = 1.0
    ) -> Float[Tensor, "batch styles width"]:
        """Draw a style towards the mean and repeat it for every layer."""
        drawn = w if truncation == 1 else torch.lerp(self.w_mean, w, truncation)
        return drawn[:, None].repeat(1, self.styles, 1)

    def features(
        self, w_plus: Float[Tensor, "batch styles width"], size: int, *, window: Window | None = None
    ) -> Features:
        """Run the network up to the block of one size; see ``Generator.features``."""
        _check_size(size, self.feature_sizes)
        parts: dict[int, Window] = {}
        if window is not None:
            check_window(window, size)
            parts = windows_of(window, size, halo=self.halo)
        x, skip = self._whole(w_plus, min(parts) // 2 if parts else size)
        if window is None:
            return Features(x, size, None, x, skip)
        if not parts:
            return Features(cut(x, window), size, window, x, skip)
        values = make_parts(x, parts, lambda part, s, made: self._block(part, w_plus, s, made), halo=self.halo)
        return Features(values, size, window, x, skip)

    def image(self, w_plus: Float[Tensor, "batch styles width"]) -> Float[Tensor, "batch 3 rows columns"]:
        """Make pictures: red, green, blue within -1 to 1."""
        return self._picture(*self._whole(w_plus, self.block_sizes[-1]), w_plus).clamp(-1, 1)

    def image_from(
        self, features: Features, w_plus: Float[Tensor, "batch styles width"]
    ) -> Float[Tensor, "batch 3 rows columns"]:
        """Make pictures from features; see ``Generator.image_from``."""
        if features.window is not None:
            raise RangeError("features of a window make no whole picture. Take them without a window.")
        above = [size for size in self.block_sizes if size > features.size]
        drawn = self._continue((features.values, features.skip), w_plus, above)
        return self._picture(*drawn, w_plus).clamp(-1, 1)

    def image_part(
        self, w_plus: Float[Tensor, "batch styles width"], window: Window
    ) -> Float[Tensor, "batch 3 rows columns"]:
        """Make a part of pictures, computing the highest blocks only around it; see ``Generator.image_part``."""
        check_window(window, self.resolution)
        top = self.block_sizes[-1]
        scale = self.resolution // top
        inner = Window(window.top // scale, window.left // scale, -(-window.bottom // scale), -(-window.right // scale))
        parts = windows_of(inner, top, halo=self.halo)
        x, skip = self._whole(w_plus, min(parts) // 2 if parts else top)
        there = Window(0, 0, x.shape[-2], x.shape[-1])
        for size, part in sorted(parts.items()):
            below = needed_below(part, size, halo=self.halo)
            made = made_above(below)
            inside, outside = within(below, there), within(part, made)
            x = cut(self._block(cut(x, inside), w_plus, size, made), outside)
            skip = self._draw(x, None if skip is None else cut(skip, inside), w_plus, size, outside)
            there = part
        whole = self._picture(x, skip, w_plus)
        return cut(whole, within(window, Window(*(scale * edge for edge in astuple(there))))).clamp(-1, 1)

    def _whole(self, w_plus: Tensor, upto: int) -> Drawn:
        lowest, *others = (size for size in self.block_sizes if size <= upto)
        x = self._lowest(w_plus)
        return self._continue((x, self._draw(x, None, w_plus, lowest)), w_plus, others)

    def _continue(self, drawn: Drawn, w_plus: Tensor, sizes: list[int]) -> Drawn:
        x, skip = drawn
        for size in sizes:
            x = self._block(x, w_plus, size)
            skip = self._draw(x, skip, w_plus, size)
        return x, skip

    @abstractmethod
    def _lowest(self, w_plus: Tensor) -> Tensor:
        """Give the map of the lowest block."""

    @abstractmethod
    def _block(self, x: Tensor, w_plus: Tensor, size: int, window: Window | None = None) -> Tensor:
        """Apply the block of a size to the map below, or to a part of it, which makes ``window``."""

    def _draw(
        self,
        x: Tensor,  # noqa: ARG002
        skip: Tensor | None,
        w_plus: Tensor,  # noqa: ARG002
        size: int,  # noqa: ARG002
        part: Window | None = None,  # noqa: ARG002
    ) -> Tensor | None:
        """Add a block's picture to the one so far, of which ``x`` shows ``part`` after it was enlarged.

        A network that keeps none has nothing to add to.
        """
        return skip

    @abstractmethod
    def _picture(self, x: Tensor, skip: Tensor | None, w_plus: Tensor) -> Tensor:
        """Give the picture of the highest map, not yet clamped."""


def _check_size(size: int, sizes: tuple[int, ...]) -> None:
    if size not in sizes:
        raise RangeError(f"features at {size} px: allowed are {', '.join(map(str, sizes))}.")
