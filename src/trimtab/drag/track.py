"""Point tracking: where the feature that a point had at the start is now, and whether it is still to be found."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.drag.sampling import MapPart
from trimtab.drag.settings import DragSettings, Norm

AT_ONCE = 8
"""Points whose surroundings are in memory together."""
MOST_PLACES = 1 << 14
"""That are tried for a point: of each, all channels of the map are in memory."""
FOUND_AGAIN = 0.9
"""A lost point must come this much closer than it had to be when it was lost."""


@dataclass(frozen=True)
class Template:
    """What is looked for.

    Attributes:
        features: of each point.
        usual: distance of each point's feature to those around it at the start: what a wrong place looks like;
            infinite where no place around it is tried.
    """

    features: Float32[Tensor, "points channels"]
    usual: Float64[Tensor, " points"]


@dataclass(frozen=True)
class Found:
    """The best place of each point, as x and y, and the distance of its feature to the template."""

    places: Float64[Tensor, "points 2"]
    distances: Float64[Tensor, " points"]


def make_template(part: MapPart, points: Float64[Tensor, "points 2"], settings: DragSettings) -> Template:
    """Remember points by their features; the map is the start's."""
    features = part.at(points)
    costs = _costs(part, points, features, settings)
    away = _offsets(settings)
    ring = (away[:, None].abs().maximum(away[None].abs()) > settings.search_px / 2) & costs.isfinite()
    usual = torch.stack(
        [
            cost[near].median() if near.any() else cost.new_tensor(torch.inf)
            for cost, near in zip(costs, ring, strict=True)
        ]
    )
    return Template(features, usual)


def track(part: MapPart, points: Float64[Tensor, "points 2"], template: Template, settings: DragSettings) -> Found:
    """Look for each point's feature around its last place.

    Args:
        part: of the new map; must reach ``search_px`` around the points.
        points: last places, as x and y in pixels of the picture.
        template: what to look for.
        settings: norm, half-width and grid of the search.

    Source: arXiv:2305.10973, equation 2; the parabola through the best place and its neighbours is our own.
    """
    costs = _costs(part, points, template.features, settings)
    offsets = _offsets(settings)
    best = costs.flatten(1).argmin(dim=1)
    row, column = best // len(offsets), best % len(offsets)
    index = torch.arange(len(points))
    shift = torch.stack([offsets[column], offsets[row]], dim=1)
    if settings.sub_pixel:
        across = _vertex(costs[index, row], column)
        down = _vertex(costs[index, :, column], row)
        shift = shift + torch.stack([across, down], dim=1) * settings.search_grid_px
    places = (points + shift).clamp(0, part.lattice.resolution - 1)
    return Found(places, costs[index, row, column])


def lost(
    found: Found, template: Template, before: Bool[Tensor, " points"], settings: DragSettings
) -> Bool[Tensor, " points"]:
    """Tell which points are not where they seem to be: nothing there looks like them."""
    if settings.lost_ratio == 0:
        return torch.zeros_like(before)
    limit = template.usual * settings.lost_ratio
    return found.distances > torch.where(before, limit * FOUND_AGAIN, limit)


def check_places(settings: DragSettings) -> None:
    """Insist that the places that are tried around a point are not too many.

    Raises:
        RangeError: they are.
    """
    if (places := len(_offsets(settings)) ** 2) > MOST_PLACES:
        asked = f"search_px {settings.search_px:g} on a search_grid_px of {settings.search_grid_px:g}"
        raise RangeError(f"{asked} is {places:,} places a point; allowed are {MOST_PLACES:,}. Widen the grid.")


def _offsets(settings: DragSettings) -> Float64[Tensor, " side"]:
    """Give the places that are tried along an axis; the last place itself is one of them."""
    reach = int(settings.search_px / settings.search_grid_px)
    return torch.arange(-reach, reach + 1, dtype=torch.float64) * settings.search_grid_px


def _costs(
    part: MapPart,
    points: Float64[Tensor, "points 2"],
    features: Float32[Tensor, "points channels"],
    settings: DragSettings,
) -> Float64[Tensor, "points side side"]:
    """Give the distance to every place that is tried; infinite outside the picture."""
    offsets = _offsets(settings)
    costs = []
    for some, wanted in zip(torch.split(points, AT_ONCE), torch.split(features, AT_ONCE), strict=True):
        rows, columns = some[:, 1:] + offsets, some[:, :1] + offsets
        near = _distance(part.sample(rows, columns), wanted[:, None, None], settings.norm)
        last = part.lattice.resolution - 1
        outside = ((rows < 0) | (rows > last))[:, :, None] | ((columns < 0) | (columns > last))[:, None]
        costs.append(near.cpu().double().masked_fill(outside, torch.inf))
    return torch.cat(costs)


def _distance(a: Tensor, b: Tensor, norm: Norm) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm(a - b, ord=1 if norm == "l1" else 2, dim=-1)
    return distance


def _vertex(line: Float64[Tensor, "points side"], best: Tensor) -> Float64[Tensor, " points"]:
    """Give where, in places of the grid from the best one, a parabola through it and its neighbours is lowest."""
    padded = torch.nn.functional.pad(line**2, (1, 1), value=torch.inf)
    index = torch.arange(len(line))
    before, here, after = (padded[index, best + shift] for shift in (0, 1, 2))
    bend = before - 2 * here + after
    vertex = (before - after) / (2 * bend)
    return torch.where(bend.isfinite() & (bend > 0), vertex, 0.0).clamp(-0.5, 0.5)
