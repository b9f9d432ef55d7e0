"""What a person asks for: points, where they are to go, and what may move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch
from jaxtyping import Float64
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.drag.mask import Mask
from trimtab.drag.motion import check_discs
from trimtab.drag.settings import DragSettings
from trimtab.drag.track import check_places
from trimtab.models.stylegan.generator import Generator

Point: TypeAlias = tuple[float, float]
"""x to the right and y down, in pixels of the picture; 0, 0 is the centre of the first."""
MOST_POINTS: Final = 500


@dataclass(frozen=True)
class Edit:
    """One drag.

    Attributes:
        handles: where points are at the start.
        targets: where each is to go.
        settings: how.
        mask: what may move; None is everything.
    """

    handles: tuple[Point, ...]
    targets: tuple[Point, ...]
    settings: DragSettings
    mask: Mask | None = None

    def check(self, generator: Generator) -> None:
        """Refuse what this generator cannot do.

        Raises:
            RangeError: handles and targets are not as many, none or too many, or outside the picture; the settings name
                features or groups that the generator lacks, more places to look at or larger discs than fit into
                memory; or the mask is of another size.
        """
        if len(self.handles) != len(self.targets):
            given = f"{len(self.handles)} handles and {len(self.targets)} targets"
            raise RangeError(f"{given}: each handle needs its target. Give as many of both.")
        if not 1 <= len(self.handles) <= MOST_POINTS:
            raise RangeError(f"{len(self.handles)} handles: allowed are 1 to {MOST_POINTS}.")
        for kind, points in (("handle", self.handles), ("target", self.targets)):
            check_points(kind, points, generator.resolution)
        settings = self.settings
        if settings.feature_size not in generator.feature_sizes:
            sizes = ", ".join(map(str, generator.feature_sizes))
            raise RangeError(f"feature_size {settings.feature_size}: allowed for this generator are {sizes}.")
        if settings.free_groups > len(generator.groups):
            raise RangeError(f"free_groups {settings.free_groups}: allowed is 1 to {len(generator.groups)}.")
        check_places(settings)
        check_discs(len(self.handles), settings.radius_px)
        if self.mask is not None and self.mask.movable.shape[0] != generator.resolution:
            raise RangeError(f"the mask has {self.mask.movable.shape[0]} rows; expected are {generator.resolution}.")


def check_points(kind: str, points: Sequence[Point], resolution: int) -> None:
    """Insist that points lie in the picture.

    Raises:
        RangeError: one does not.
    """
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y) and 0 <= x <= resolution - 1 and 0 <= y <= resolution - 1):
            allowed = f"0 to {resolution - 1} for both x and y"
            raise RangeError(f"{kind} {x:g},{y:g} lies outside the picture. Allowed is {allowed}.")


def as_tensor(points: Sequence[Point]) -> Float64[Tensor, "points 2"]:
    """Give points as rows of x and y."""
    return torch.tensor(points, dtype=torch.float64).reshape(-1, 2)
