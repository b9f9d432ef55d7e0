"""What can be set about an inversion."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Final

from trimtab.core.errors import RangeError


@dataclass(frozen=True)
class InvertSettings:
    """How a picture is inverted. Lengths are in pixels of the picture.

    Attributes:
        guesses: random pictures that are tried for a start; 0 starts from the mean.
        style_steps: of the first stage, which looks for styles.
        detail_steps: the last of those, which look at parts of the picture itself rather than at a cheap, small one.
        adapter_steps: of the second stage, which fits an adapter around the styles; 0 leaves it out.
        style_lr: step size of Adam for styles, in natural directions.
        detail_lr: the same, in the detail steps.
        own_share: how much slower a layer's own style moves than the one that all share.
        together: weight that holds the layers' styles together.
        near_guess: weight that holds them near the first guess.
        adapter_lr: step size for the adapter's factors.
        rank: of the adapter.
        part_px: side of the parts.
        look_every: steps between looks at the whole picture.
        seed: of the parts and of the adapter's start.
    """

    guesses: int = 512
    style_steps: int = 120
    detail_steps: int = 20
    adapter_steps: int = 300
    style_lr: float = 0.1
    detail_lr: float = 0.01
    own_share: float = 0.3
    together: float = 1e-5
    near_guess: float = 1e-5
    adapter_lr: float = 6e-3
    rank: int = 64
    part_px: int = 512
    look_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no inversion can use.

        Raises:
            RangeError: as it says.
        """
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and least <= value <= most):
                raise RangeError(f"{name} {value}: allowed is {least:g} to {most:g}.")
        if self.detail_steps > self.style_steps:
            raise RangeError(f"detail_steps {self.detail_steps}: allowed is 0 to style_steps, {self.style_steps}.")


def invert_kinds() -> dict[str, type]:
    """Give the type of every setting."""
    return {name: type(value) for name, value in asdict(InvertSettings()).items()}


LIMITS: Final[dict[str, tuple[float, float]]] = {
    "guesses": (0, 100_000),
    "style_steps": (1, 100_000),
    "detail_steps": (0, 100_000),
    "adapter_steps": (0, 100_000),
    "style_lr": (1e-6, 1.0),
    "detail_lr": (1e-6, 1.0),
    "own_share": (0, 10),
    "together": (0, 1e3),
    "near_guess": (0, 1e3),
    "adapter_lr": (1e-6, 1.0),
    "rank": (1, 512),
    "part_px": (16, 4096),
    "look_every": (1, 1000),
    "seed": (0, 2**32 - 1),
}
"""Least and most of every number."""
