"""Coverage of pixels by shapes: how much of each lies inside, with edges about a pixel wide.

Distances are to the true outline to first order, so that an edge is as wide everywhere; a shape that gets thinner than
a pixel fades instead of leaving a band.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

TINY = 1e-6


@dataclass(frozen=True)
class Place:
    """Where the pixels are in the coordinates of a shape, and how wide edges are there.

    Attributes:
        x: to the right.
        y: down.
        edge: width of an edge, in the same unit.
    """

    x: Float[Tensor, "batch rows columns"]
    y: Float[Tensor, "batch rows columns"]
    edge: Float[Tensor, "batch 1 1"]


def cover(distance: Tensor, edge: Tensor) -> Tensor:
    """Turn distances, negative inside, into shares of 0 to 1."""
    return (0.5 - distance / edge).clamp(0, 1)


def band(place: Place, top: tuple[Tensor, Tensor], bottom: tuple[Tensor, Tensor]) -> Tensor:
    """Cover what lies between two curves, each given as its height and its slope at every x.

    The share is exact for a window of the edge's width, so that it goes to zero with the band's thickness.
    """
    shares = []
    for height, slope in (top, bottom):
        edge = place.edge * torch.sqrt(1 + slope * slope)
        shares.append(((place.y - height) / edge + 0.5).clamp(0, 1))
    return (shares[0] - shares[1]).clamp(min=0)


def disc(place: Place, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Cover a disc."""
    distance = torch.sqrt((place.x - x) ** 2 + (place.y - y) ** 2 + TINY) - radius
    return cover(distance, place.edge)


def ellipse(place: Place, centre: tuple[Tensor, Tensor], radii: tuple[Tensor, Tensor]) -> Tensor:
    """Cover an ellipse."""
    across, down = (place.x - centre[0]) / radii[0], (place.y - centre[1]) / radii[1]
    ratio = torch.sqrt(across**2 + down**2 + TINY)
    slope = torch.sqrt((across / radii[0]) ** 2 + (down / radii[1]) ** 2 + TINY)
    return cover(ratio * (ratio - 1) / slope, place.edge)


@dataclass(frozen=True)
class Egg:
    """An outline that is half an ellipse above and narrows below; its centre is the origin.

    Attributes:
        width: half of it, at the centre.
        up: from the centre to the top.
        down: from the centre to the bottom.
        taper: share of the width that is lost towards the bottom.
        lean: how far to the right the bottom is.
    """

    width: Tensor
    up: Tensor
    down: Tensor
    taper: Tensor
    lean: Tensor

    def at(self, share: float) -> tuple[Tensor, Tensor, Tensor]:
        """Give left x, right x and y of the outline at a share of the way from the centre to the bottom."""
        half = self.width * (1 - self.taper * share**2) * (1 - share**2) ** 0.5
        middle = self.lean * share**2
        return middle - half, middle + half, self.down * share


def egg(place: Place, outline: Egg) -> Tensor:
    """Cover the inside of an egg."""
    below = place.y > 0
    height = torch.where(below, outline.down, outline.up)
    t = place.y / height
    t_below = t.clamp(min=0)
    width = outline.width * (1 - outline.taper * t_below.clamp(max=1.2) ** 2)
    across = (place.x - outline.lean * t_below**2) / width
    ratio = torch.sqrt(across**2 + t**2 + TINY)
    slope_x = across / width
    bend = outline.taper * outline.width * across / width - outline.lean / width  # of the width and of the middle
    slope_y = (t + 2 * t_below * across * bend) / height
    slope = torch.sqrt(slope_x**2 + slope_y**2 + TINY)
    return cover(ratio * (ratio - 1) / slope, place.edge)


@dataclass(frozen=True)
class Lens:
    """A curve over x from a left to a right end, which other curves follow above and below.

    Its own coordinate u is -1 at the left end, 0 in the middle, which need not be halfway, and 1 at the right end.

    Attributes:
        left: x of the end.
        middle: x of the middle.
        right: x of the end.
        height: y of the middle.
        bend: how much farther down the ends are than the middle.
        tilt: how much farther down the right end is than the middle, besides the bend; the left end is as far up.
        fullness: 0 for pointed ends, up to 1 for blunt ones.
    """

    left: Tensor
    middle: Tensor
    right: Tensor
    height: Tensor
    bend: Tensor
    tilt: Tensor
    fullness: float = 0.0

    def ends(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Give both ends as x and y."""
        down = self.height + self.bend
        return (self.left, down - self.tilt), (self.right, down + self.tilt)


@dataclass(frozen=True)
class Along:
    """The pixels in a lens's coordinates.

    Attributes:
        u: -1 to 1 along the lens.
        rate: of u with x.
        centre: the curve's height at each pixel's x, and its slope.
        bulge: 1 in the middle and 0 at the ends, and its slope.
    """

    u: Tensor
    rate: Tensor
    centre: tuple[Tensor, Tensor]
    bulge: tuple[Tensor, Tensor]

    def curve(self, up: Tensor | float) -> tuple[Tensor, Tensor]:
        """Give the curve that lies ``up`` above the centre in the middle and meets it at the ends."""
        return self.centre[0] - up * self.bulge[0], self.centre[1] - up * self.bulge[1]


def along(place: Place, lens: Lens) -> Along:
    """Look at the pixels along a lens."""
    x = place.x - lens.middle
    rate = 1 / torch.where(x > 0, lens.right - lens.middle, lens.middle - lens.left)
    u = (x * rate).clamp(-1.5, 1.5)
    square = u * u
    centre = lens.height + lens.bend * square + lens.tilt * u
    slope = (2 * lens.bend * u + lens.tilt) * rate
    full = lens.fullness
    bulge = (1 - square) * (1 + full * square)
    bulge_slope = ((full - 1) * 2 * u - 4 * full * square * u) * rate
    return Along(u, rate, (centre, slope), (bulge, bulge_slope))


def stroke(place: Place, seen: Along, curve: tuple[Tensor, Tensor], thickness: Tensor | float) -> Tensor:
    """Cover a line along a curve of a lens, as long as the lens."""
    height, slope = curve
    half = 0.5 * thickness
    line = band(place, (height - half, slope), (height + half, slope))
    return line * cover((seen.u.abs() - 1) / seen.rate, place.edge)
