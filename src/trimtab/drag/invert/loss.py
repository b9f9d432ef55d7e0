"""How unlike two pictures are: plain differences at several scales. No network judges, so this is no LPIPS."""

from __future__ import annotations

from typing import Final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

EDGES: Final = 0.5
"""Weight of differences between neighbouring pixels: without them, what is fine stays blurred."""
SQUARES: Final = 4.0
SQUARES_NEAR: Final = 200.0
"""Of pictures that are near each other, whose squared differences are small."""
SCALES: Final = 5
LEAST_PX: Final = 8


def picture_loss(
    a: Float[Tensor, "batch 3 rows columns"], b: Float[Tensor, "batch 3 rows columns"], *, squares: float = SQUARES
) -> Float[Tensor, ""]:
    """Add the mean absolute differences of pixels and of their neighbours, at up to five scales, halved each time.

    Args:
        a: pictures, or parts of them.
        b: what they should be.
        squares: weight of the mean squared difference at the finest scale, which the PSNR is made of.
    """
    total = squares * (a - b).square().mean()
    for _ in range(SCALES):
        away = a - b
        total = total + away.abs().mean()
        total = total + EDGES * (away.diff(dim=2).abs().mean() + away.diff(dim=3).abs().mean())
        if min(a.shape[-2:]) < 2 * LEAST_PX:
            break
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return total
