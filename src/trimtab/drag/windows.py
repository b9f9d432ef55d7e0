"""Which part of a map a step needs: everything within reach of the handles, as one rectangle."""

from __future__ import annotations

import math
from typing import Final

from jaxtyping import Float64
from torch import Tensor

from trimtab.drag.sampling import Lattice
from trimtab.drag.settings import DragSettings
from trimtab.models.stylegan.generator import Window

MARGIN: Final = 1
"""Map pixels on each side for the interpolation at a place between two of them."""
ROUNDED_TO: Final = 4
"""Edges lie on multiples of this, so that few shapes occur and little is set up anew."""
WORTHWHILE: Final = 0.8
"""A window larger than this share of the map saves nothing."""


def window_of(points: Float64[Tensor, "points 2"], lattice: Lattice, settings: DragSettings) -> Window | None:
    """Give the window that tracking from these points, and pulling them afterwards, reads.

    Returns:
        None where the whole map is as cheap.
    """
    reach = settings.search_px + settings.search_grid_px + settings.radius_px + settings.step_px
    left, top = (points.amin(dim=0) - reach).tolist()
    right, bottom = (points.amax(dim=0) + reach).tolist()
    window = Window(_below(lattice, top), _below(lattice, left), _above(lattice, bottom), _above(lattice, right))
    area = (window.bottom - window.top) * (window.right - window.left)
    return window if area < WORTHWHILE * lattice.size**2 else None


def _below(lattice: Lattice, place: float) -> int:
    edge = math.floor(lattice.to_map(max(place, 0.0))) - MARGIN
    return max(edge // ROUNDED_TO * ROUNDED_TO, 0)


def _above(lattice: Lattice, place: float) -> int:
    edge = math.floor(lattice.to_map(min(place, lattice.resolution - 1.0))) + 2 + MARGIN
    return min(-(-edge // ROUNDED_TO) * ROUNDED_TO, lattice.size)
