"""Motion supervision: the features under a disc around each point are wanted a step nearer to its target."""

from __future__ import annotations

import math
from typing import Final

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.drag.sampling import MapPart
from trimtab.drag.settings import DragSettings, Reduction

MOST_PIXELS: Final = 1 << 18
"""Under all discs together: of each, all channels of the map are in memory, several times."""


def step_vectors(
    points: Float64[Tensor, "points 2"], targets: Float64[Tensor, "points 2"], settings: DragSettings
) -> Float64[Tensor, "points 2"]:
    """Give the way each point is to go in this step: a fixed length, or what is left where that is less."""
    way = targets - points
    length = torch.linalg.vector_norm(way, dim=1, keepdim=True)
    stride = length.clamp(max=settings.step_px) if settings.shorten_step else settings.step_px
    return torch.where(length > 0, way / length.clamp(min=1e-12) * stride, 0.0)


def disc(radius_px: float) -> tuple[Float64[Tensor, " side"], Float64[Tensor, "side side"]]:
    """Give whole offsets along an axis, and 1 where a pair of them lies within the radius."""
    reach = math.floor(radius_px)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    inside = offsets[:, None] ** 2 + offsets[None] ** 2 <= radius_px**2
    return offsets, inside.double()


def check_discs(points: int, radius_px: float) -> None:
    """Insist that the discs of an edit fit into memory.

    Raises:
        RangeError: they are too large for so many points.
    """
    side = 2 * math.floor(radius_px) + 1
    if points * side**2 > MOST_PIXELS:
        most = (math.isqrt(MOST_PIXELS // points) - 1) // 2
        raise RangeError(f"radius_px {radius_px:g}: allowed for {points} points is 0 to {most}. Pull smaller discs.")


def motion_loss(
    part: MapPart,
    points: Float64[Tensor, "points 2"],
    steps: Float64[Tensor, "points 2"],
    *,
    radius_px: float,
    reduction: Reduction,
) -> Float32[Tensor, ""]:
    """Compare what is under each disc with what is one step on, in L1.

    The gradient flows through the places one step on alone: what is there is made like what is here, not the reverse.

    Args:
        part: of the map; gradients flow to it.
        points: where the discs are, as x and y in pixels of the picture.
        steps: how far on the second look is taken.
        radius_px: of the discs.
        reduction: of the pixels and channels of a disc; the discs are summed.

    Source: arXiv:2305.10973, equation 1 without its mask term.
    """
    offsets, inside = disc(radius_px)
    with torch.no_grad():
        here = part.sample(points[:, 1:] + offsets, points[:, :1] + offsets)
    moved = points + steps
    there = part.sample(moved[:, 1:] + offsets, moved[:, :1] + offsets)
    weights = inside.to(there)
    if reduction == "mean":
        weights = weights / (weights.sum() * there.shape[3])
    return ((here - there).abs().sum(dim=3) * weights).sum()
