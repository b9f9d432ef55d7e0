"""Reading a feature map as if it had been enlarged to the size of the picture, without enlarging it.

A value of the enlarged map at a place between its pixels is an interpolation of interpolations, and both are
separable: a patch is ``down @ map @ across.T`` with a handful of rows and columns of the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor


@dataclass(frozen=True)
class Lattice:
    """How a map lies under the picture.

    Attributes:
        resolution: rows and columns of the picture, 2 or more.
        size: rows and columns of the whole map.
        align_corners: whether the outermost pixels' centres coincide when the map is enlarged, rather than their edges.
    """

    resolution: int
    size: int
    align_corners: bool = False

    def taps(
        self, positions: Float64[Tensor, "points count"]
    ) -> tuple[Int64[Tensor, " points"], Float64[Tensor, "points count side"]]:
        """Give what each position along one axis is made of.

        Args:
            positions: in pixels of the picture, 0 being the centre of the first; outside, the border's value counts.

        Returns:
            First row of the map that a point's positions need, and the weights of the rows from there on. All points
            get equally many rows.
        """
        base = positions.clamp(0, self.resolution - 1)
        lower = base.floor().clamp(max=self.resolution - 2)
        share = base - lower
        low, low_share = self._enlarged(lower)
        high, high_share = self._enlarged(lower + 1)
        indices = torch.stack([low, low + 1, high, high + 1], dim=-1).clamp(max=self.size - 1)
        weights = torch.stack(
            [(1 - share) * (1 - low_share), (1 - share) * low_share, share * (1 - high_share), share * high_share],
            dim=-1,
        )
        first, last = indices.amin(dim=(1, 2)), indices.amax(dim=(1, 2))
        side = int((last - first).max()) + 1
        first = first.clamp(max=self.size - side)
        taps = weights.new_zeros(*positions.shape, side)
        return first, taps.scatter_add_(2, indices - first[:, None, None], weights)

    def to_map(self, position: float) -> float:
        """Give the place on the map, in its pixels, under a place of the picture."""
        if self.align_corners:
            return position * (self.size - 1) / (self.resolution - 1)
        return (position + 0.5) * self.size / self.resolution - 0.5

    def _enlarged(self, pixels: Float64[Tensor, "*shape"]) -> tuple[Int64[Tensor, "*shape"], Float64[Tensor, "*shape"]]:
        """Give the lower of both rows that a whole pixel of the enlarged map is made of, and the other's share."""
        if self.align_corners:
            place = pixels * ((self.size - 1) / (self.resolution - 1))
        else:
            place = ((pixels + 0.5) * (self.size / self.resolution) - 0.5).clamp(min=0)
        low = place.floor().clamp(max=self.size - 1)
        return low.long(), place - low


@dataclass(frozen=True)
class MapPart:
    """A feature map, or a window of it, of one picture.

    Attributes:
        values: features.
        lattice: of the whole map.
        top: first row of the whole map that is there.
        left: first column.
    """

    values: Float[Tensor, "channels rows columns"]
    lattice: Lattice
    top: int = 0
    left: int = 0

    def sample(
        self, rows: Float64[Tensor, "points down"], columns: Float64[Tensor, "points across"]
    ) -> Float32[Tensor, "points down across channels"]:
        """Read a grid of places around each point; gradients flow to the map.

        Args:
            rows: vertical places of each point's grid, in pixels of the picture.
            columns: horizontal places.
        """
        top, down = self.lattice.taps(rows)
        left, across = self.lattice.taps(columns)
        corners = [(int(y) - self.top, int(x) - self.left) for y, x in zip(top, left, strict=True)]
        pieces = _Pieces.apply(self.values, corners, (down.shape[2], across.shape[2]))  # type: ignore[no-untyped-call]
        down, across = (taps.to(pieces) for taps in (down, across))
        points, height, width, channels = pieces.shape
        mixed = (down @ pieces.reshape(points, height, width * channels)).reshape(points, -1, width, channels)
        result: Tensor = across[:, None] @ mixed
        return result

    def at(self, points: Float64[Tensor, "points 2"]) -> Float32[Tensor, "points channels"]:
        """Read single places, given as x and y."""
        return self.sample(points[:, 1:], points[:, :1])[:, 0, 0]


class _Pieces(torch.autograd.Function):
    """Rectangles of a map, channels last; their gradients are added into one map in a fixed order."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, corners: list[tuple[int, int]], sides: tuple[int, int]) -> Tensor:
        ctx.shape, ctx.corners, ctx.sides = values.shape, corners, sides
        pieces = [values[:, y : y + sides[0], x : x + sides[1]] for y, x in corners]
        return torch.stack([piece.permute(1, 2, 0) for piece in pieces])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        whole = grad.new_zeros(ctx.shape)
        height, width = ctx.sides
        for (y, x), piece in zip(ctx.corners, grad, strict=True):
            whole[:, y : y + height, x : x + width] += piece.permute(2, 0, 1)
        return whole, None, None
