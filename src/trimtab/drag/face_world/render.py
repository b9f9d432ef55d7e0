"""From the numbers of faces to their pictures."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.drag.face_world import palette
from trimtab.drag.face_world.layout import Layout, layout, named
from trimtab.drag.face_world.paint import Canvas, paint_all
from trimtab.drag.face_world.parameters import WIDTH
from trimtab.drag.face_world.shapes import Place

EDGE_PX: Final = 1.0  # width of an edge, in pixels of the picture
SMALLEST: Final = 8
LARGEST: Final = 2048


def render(
    values: Float[Tensor, "batch 32"], *, resolution: int = 64, supersampling: int = 2
) -> Float[Tensor, "batch 3 rows columns"]:
    """Draw faces: red, green, blue within -1 to 1.

    Args:
        values: of faces, as ``parameters`` gives them; gradients flow to them.
        resolution: rows and columns.
        supersampling: places along each side of a pixel that are drawn and averaged.

    Raises:
        RangeError: the resolution, supersampling or number of values is not allowed.
    """
    if not SMALLEST <= resolution <= LARGEST or not 1 <= supersampling <= 8:
        allowed = f"{SMALLEST} to {LARGEST} px and 1 to 8 places along a pixel"
        raise RangeError(f"{resolution} px, {supersampling} places along a pixel: allowed are {allowed}.")
    if values.shape[1] != WIDTH:
        raise RangeError(f"{values.shape[1]} numbers a face: expected are {WIDTH}.")
    numbers, parts = named(values), layout(values)
    outer = _pixels(values, resolution * supersampling, edge=2 * EDGE_PX / resolution)
    canvas = Canvas(_background(numbers["background"], outer), parts, numbers, outer, _head_place(parts, outer))
    paint_all(canvas)
    picture = canvas.picture.clamp(0, 1) * 2 - 1
    return F.avg_pool2d(picture, supersampling) if supersampling > 1 else picture


def _pixels(like: Tensor, side: int, *, edge: float) -> Place:
    centres = (torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) * (2 / side) - 1
    x = centres[None, None, :].expand(len(like), side, side)
    y = centres[None, :, None].expand(len(like), side, side)
    return Place(x, y, like.new_full((len(like), 1, 1), edge))


def _head_place(parts: Layout, outer: Place) -> Place:
    """Give the pixels in the head's own coordinates."""
    roll = parts.roll.double()  # as in the layout
    cos, sin = torch.cos(roll).float(), torch.sin(roll).float()
    across, down = (outer.x - parts.x) / parts.size, (outer.y - parts.y) / parts.size
    return Place(across * cos + down * sin, down * cos - across * sin, outer.edge / parts.size)


def _background(share: Tensor, outer: Place) -> Tensor:
    colours = palette.along(share, palette.BACKGROUND)
    return colours * (1.02 - 0.08 * outer.y)[:, None]
