"""What a generator of pictures must offer to be dragged: styles in, features of a block and pictures out.

``load_generator`` in ``trimtab.models.stylegan.load`` gives one from its folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from trimtab.core.errors import RangeError

MOST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Window:
    """A rectangle of a block's feature map, in its pixels; ``bottom`` and ``right`` are the first ones outside."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class Features:
    """What a pass up to one block gives.

    Attributes:
        values: output of the block after its activation; with a window only that part of it, without its halo.
        size: rows and columns of the block's whole map.
        window: what ``values`` covers; None is the whole map.
        whole: output of the highest block that was computed whole: ``values`` itself without a window.
        skip: picture so far, up to and including the block of ``whole``; None where the network keeps none.
    """

    values: Float[Tensor, "batch channels rows columns"]
    size: int
    window: Window | None
    whole: Float[Tensor, "batch inner height width"]
    skip: Float[Tensor, "batch 3 height width"] | None = None


@runtime_checkable
class Generator(Protocol):
    """A frozen network that makes pictures from styles, in float32.

    Nothing in it requires a gradient and nothing in it changes; gradients flow through it to ``w_plus``.

    Attributes:
        resolution: rows and columns of its pictures.
        z_width: numbers in a latent.
        w_width: numbers in a style.
        styles: number of styles in a w+.
        groups: indices of the styles that a drag moves together, those of the lowest blocks first.
        feature_sizes: sizes at which features can be taken, lowest first.
        w_mean: the mean style.
        card_sha256: of the card in the folder that it was loaded from; empty where it has none.
    """

    resolution: int
    z_width: int
    w_width: int
    styles: int
    groups: tuple[tuple[int, ...], ...]
    feature_sizes: tuple[int, ...]
    card_sha256: str

    @property
    def w_mean(self) -> Float[Tensor, " width"]:
        """The mean style, towards which truncation draws."""

    def map(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch width"]:
        """Give the style of a latent, without truncation."""

    def w_plus(
        self, w: Float[Tensor, "batch width"], *, truncation: float = 1.0
    ) -> Float[Tensor, "batch styles width"]:
        """Draw a style towards the mean (1 leaves it, 0 gives the mean) and repeat it for every layer."""

    def features(
        self, w_plus: Float[Tensor, "batch styles width"], size: int, *, window: Window | None = None
    ) -> Features:
        """Run the network up to the block of one size.

        Args:
            w_plus: one style a layer.
            size: one of ``feature_sizes``.
            window: the part of the map that is wanted; the highest blocks are then computed only around it. The
                values are those of the whole map.

        Raises:
            RangeError: no features can be taken at this size, or the window leaves the map.
        """

    def image(self, w_plus: Float[Tensor, "batch styles width"]) -> Float[Tensor, "batch 3 rows columns"]:
        """Make pictures: red, green, blue within -1 to 1."""

    def image_from(
        self, features: Features, w_plus: Float[Tensor, "batch styles width"]
    ) -> Float[Tensor, "batch 3 rows columns"]:
        """Make pictures from features without a second pass over the blocks below them.

        Raises:
            RangeError: the features are those of a window.
        """

    def image_part(
        self, w_plus: Float[Tensor, "batch styles width"], window: Window
    ) -> Float[Tensor, "batch 3 rows columns"]:
        """Make a part of pictures, as ``image`` makes it there; the highest blocks are computed only around it.

        Args:
            w_plus: one style a layer.
            window: in pixels of the picture.

        Raises:
            RangeError: the window leaves the picture.
        """

    def preview(self, features: Features) -> Float[Tensor, "batch 3 height width"]:
        """Give a cheap, smaller picture, within -1 to 1, of what the features will become.

        Always of the whole picture; features of a window give a coarser one outside the window.
        """

    def preview_near(
        self, w_plus: Float[Tensor, "1 styles width"], image: Float[Tensor, "1 3 rows columns"]
    ) -> Callable[[Features], Tensor]:
        """Give a ``preview`` for pictures near a known one, such as those of a drag.

        It shows more of them than ``preview`` does as long as the styles above the features stay as they are.

        Args:
            w_plus: of the known picture.
            image: that picture, as ``image`` makes it.
        """


def latent_of_seed(seed: int, z_width: int) -> Float32[Tensor, "1 latent"]:
    """Give the latent that published generators draw from a seed.

    Raises:
        RangeError: the seed is not allowed.

    Source: the drag editors and samplers of StyleGAN2 use NumPy's legacy generator, so that seeds agree.
    """
    if not 0 <= seed <= MOST_SEED:
        raise RangeError(f"seed {seed}: allowed is 0 to {MOST_SEED}.")
    return torch.from_numpy(np.random.RandomState(seed).randn(1, z_width)).float()


def check_window(window: Window, size: int) -> None:
    """Refuse a window that is empty or leaves the map.

    Raises:
        RangeError: as it says.
    """
    if not (0 <= window.top < window.bottom <= size and 0 <= window.left < window.right <= size):
        raise RangeError(f"{window} of a map of {size} x {size}: allowed are windows of at least 1 px within the map.")
