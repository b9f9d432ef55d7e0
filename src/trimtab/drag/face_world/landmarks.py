"""The 21 points of a face, in closed form."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from trimtab.drag.face_world.layout import Layout, layout
from trimtab.drag.face_world.paint import lips

JAW_SHARE: Final = 0.6  # of the way from the head's centre down to the chin

LANDMARKS: Final = (
    "left brow, outer end",
    "left brow, inner end",
    "right brow, inner end",
    "right brow, outer end",
    "left eye, outer corner",
    "left eye, inner corner",
    "left eye, upper lid",
    "left eye, lower lid",
    "right eye, inner corner",
    "right eye, outer corner",
    "right eye, upper lid",
    "right eye, lower lid",
    "tip of the nose",
    "mouth, left corner",
    "mouth, right corner",
    "upper lip",
    "lower lip",
    "jaw, left",
    "jaw, right",
    "chin",
    "hairline",
)
"""What each is; left is the left of the picture."""


def landmarks(values: Float[Tensor, "batch 32"], *, resolution: int) -> Float[Tensor, "batch 21 2"]:
    """Give the points of faces as x and y in pixels of the picture, 0 being the centre of the first.

    Args:
        values: of faces, as ``parameters`` gives them; gradients flow to them.
        resolution: of the picture.
    """
    parts = layout(values)
    points = [point for pair in zip(*_of_the_head(parts), strict=True) for point in pair]
    x, y = (torch.cat(points[start::2], dim=1)[:, :, 0] for start in (0, 1))  # (batch, 21)
    cos, sin = torch.cos(parts.roll)[:, 0], torch.sin(parts.roll)[:, 0]
    across = parts.x[:, 0] + parts.size[:, 0] * (x * cos - y * sin)
    down = parts.y[:, 0] + parts.size[:, 0] * (x * sin + y * cos)
    return (torch.stack([across, down], dim=2) + 1) * (resolution / 2) - 0.5


def _of_the_head(parts: Layout) -> tuple[list[Tensor], list[Tensor]]:
    """Give x and y of all points in the head's coordinates."""
    left, right = parts.eyes
    points = [
        *parts.brows[0].ends(),
        *parts.brows[1].ends(),
        *left.ends(),
        (left.middle, left.height - parts.lids),
        (left.middle, left.height + parts.lids),
        *right.ends(),
        (right.middle, right.height - parts.lids),
        (right.middle, right.height + parts.lids),
        parts.nose,
        *parts.mouth.ends(),
        *_lips(parts),
        *_jaw(parts),
        (parts.face.lean, parts.face.down),
        parts.fringe,
    ]
    return [x for x, _ in points], [y for _, y in points]


def _lips(parts: Layout) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    mouth, (up, down) = parts.mouth, lips(parts.opening)
    return (mouth.middle, mouth.height - up), (mouth.middle, mouth.height + down)


def _jaw(parts: Layout) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    left, right, y = parts.face.at(JAW_SHARE)
    return (left, y), (right, y)
