"""What can be set about an inversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trimtab.core.errors import RangeError
from trimtab.drag.limits import Limits, check_limits, kinds_of


@dataclass(frozen=True)
class InvertSettings:
    """How a picture is inverted. Lengths are in pixels of the picture.

    Attributes:
        guesses: random pictures that are tried for a start; 0 starts from the mean.
        style_steps: of the first stage, which looks for styles.
        detail_steps: the last of those, which look at parts of the picture itself rather than at a cheap, small one.
        adapter_steps: of the second stage, which fits an adapter around the styles; 0 leaves it out.
        whole_share: share of those, the first ones, that look at the whole picture, cheaply and half as sharp or less;
            the others look at parts of the picture itself.
        style_lr: step size of Adam for styles, in natural directions.
        detail_lr: the same, in the detail steps.
        own_share: how much slower a layer's own style moves than the one that all share.
        together: weight that holds the layers' styles together.
        near_guess: weight that holds them near the first guess.
        adapter_lr: step size for the adapter's factors.
        part_lr: the same, in the steps that look at parts.
        rank: of the adapter; less where it would be larger than an adapter may be.
        part_px: side of the parts.
        look_every: steps between looks at the whole picture.
        seed: of the parts and of the adapter's start.
    """

    guesses: int = 512
    style_steps: int = 140
    detail_steps: int = 40
    adapter_steps: int = 400
    whole_share: float = 0.25
    style_lr: float = 0.1
    detail_lr: float = 0.01
    own_share: float = 0.3
    together: float = 1e-5
    near_guess: float = 1e-5
    adapter_lr: float = 1e-2
    part_lr: float = 3e-3
    rank: int = 104
    part_px: int = 512
    look_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no inversion can use.

        Raises:
            RangeError: as it says.
        """
        check_limits(self, LIMITS)
        if self.detail_steps > self.style_steps:
            raise RangeError(f"detail_steps {self.detail_steps}: allowed is 0 to style_steps, {self.style_steps}.")


def invert_kinds() -> dict[str, type]:
    """Give the type of every setting."""
    return kinds_of(InvertSettings())


LIMITS: Final[Limits] = {
    "guesses": (0, 100_000),
    "style_steps": (1, 100_000),
    "detail_steps": (0, 100_000),
    "adapter_steps": (0, 100_000),
    "whole_share": (0, 1),
    "style_lr": (1e-6, 1.0),
    "detail_lr": (1e-6, 1.0),
    "own_share": (0, 10),
    "together": (0, 1e3),
    "near_guess": (0, 1e3),
    "adapter_lr": (1e-6, 1.0),
    "part_lr": (1e-6, 1.0),
    "rank": (1, 512),
    "part_px": (16, 4096),
    "look_every": (1, 1000),
    "seed": (0, 2**32 - 1),
}
"""Least and most of every number."""
