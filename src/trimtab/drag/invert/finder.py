"""Finding a face: the small network looks at a photo at several sizes, then again at what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from trimtab.drag.invert.align import Placement, align, square_of
from trimtab.drag.invert.finder_net import STRIDE, finder

if TYPE_CHECKING:
    from PIL.Image import Image

SIDES_PX: Final = (56, 80, 112, 160, 224, 320)
"""Longer side of the photo where it is looked at; faces from about an eighth of it up are found."""
MARGIN_PX: Final = 16
CANDIDATES: Final = 4
CLOSE_PX: Final = 96
CLOSE_FACE: Final = 0.58
"""Share of a close look that the face's square takes."""
LOOKS: Final = 3
SURE: Final = 0.8
"""Least certainty of the close looks."""
LEAST_FACE_PX: Final = 64.0
"""Side of the smallest square: coins and craters look like faces that are smaller still."""
MOST_ANGLE: Final = 60.0


@torch.no_grad()
def find_points(photo: Image) -> Float[Tensor, "5 2"] | None:
    """Find eyes, nose tip and mouth corners of the clearest face, in pixels of the photo; None where there is none."""
    seen = [found for side in SIDES_PX for found in _look(photo, side)]
    seen.sort(key=lambda found: -found[0])
    best: tuple[float, Tensor] | None = None
    for _, points in seen[: 2 * CANDIDATES]:
        close = _look_closely(photo, points)
        if close is not None and (best is None or close[0] > best[0]):
            best = close
    return best[1] if best is not None and best[0] >= SURE else None


def _look(photo: Image, side: int) -> list[tuple[float, Tensor]]:
    """Look at the whole photo at one size; give certainties and points, in pixels of the photo."""
    scale = side / max(photo.size)
    width, height = (max(round(length * scale), 1) for length in photo.size)
    small = photo.resize((width, height), reducing_gap=3.0)
    pixels = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    right, bottom = (MARGIN_PX + -length % STRIDE for length in small.size)
    padded = F.pad(pixels, (MARGIN_PX, right, MARGIN_PX, bottom), mode="replicate")
    logits, offsets = finder()(padded)
    peaks = F.max_pool2d(logits[:, None], 3, stride=1, padding=1)[0, 0] == logits[0]
    order = (logits[0].sigmoid() * peaks).flatten().argsort(descending=True)[:CANDIDATES]
    found = []
    for index in order.tolist():
        row, column = divmod(index, logits.shape[2])
        points = _points(offsets[0], row, column)
        found.append((float(logits[0, row, column].sigmoid()), (points - MARGIN_PX) / scale))
    return found


def _look_closely(photo: Image, points: Tensor) -> tuple[float, Tensor] | None:
    """Look at one face again and again, upright and at a known size; give the least certainty and the last points."""
    certainty = 1.0
    for _ in range(LOOKS):
        square = square_of(points)
        wide = Placement(square.x, square.y, square.size / CLOSE_FACE, square.angle)
        if not _sensible(square, photo):
            return None
        logits, offsets = finder()(align(photo, wide, CLOSE_PX))
        middle = slice(CLOSE_PX // STRIDE // 2 - 2, CLOSE_PX // STRIDE // 2 + 2)
        inner = logits[0, middle, middle]
        row, column = divmod(int(inner.argmax()), inner.shape[1])
        certainty = min(certainty, float(inner[row, column].sigmoid()))
        points = _back(_points(offsets[0], row + middle.start, column + middle.start), wide)
    return certainty, points


def _points(offsets: Tensor, row: int, column: int) -> Tensor:
    return offsets[:, :, row, column] + STRIDE * (torch.tensor([column, row]) + 0.5)


def _back(points: Tensor, square: Placement) -> Tensor:
    """Turn places of a close look into places of the photo."""
    turn = torch.deg2rad(torch.tensor(square.angle, dtype=torch.float64))
    own = (points.double() / CLOSE_PX - 0.5) * square.size
    x = square.x + own[:, 0] * turn.cos() - own[:, 1] * turn.sin()
    y = square.y + own[:, 0] * turn.sin() + own[:, 1] * turn.cos()
    return torch.stack([x, y], dim=1)


def _sensible(square: Placement, photo: Image) -> bool:
    inside = 0 <= square.x <= photo.width and 0 <= square.y <= photo.height
    return inside and LEAST_FACE_PX <= square.size <= 2 * max(photo.size) and abs(square.angle) < MOST_ANGLE
