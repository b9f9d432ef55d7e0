"""The mean style of a generator whose file does not tell it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

MEAN_LATENTS: Final = 10_000
MEAN_SEED: Final = 0
AT_ONCE: Final = 400
"""Latents in memory together; a multiple of 16, in which numbers are drawn, so that all are as if drawn at once."""


@torch.no_grad()
def mean_style(map_latents: Callable[[Tensor], Tensor], z_width: int) -> Float[Tensor, " width"]:
    """Estimate the mean of the styles of many latents, always the same.

    Args:
        map_latents: gives the styles, (batch, width), of latents, (batch, z_width).
        z_width: numbers in a latent.
    """
    source = torch.Generator().manual_seed(MEAN_SEED)
    chunks = (torch.randn(AT_ONCE, z_width, generator=source) for _ in range(MEAN_LATENTS // AT_ONCE))
    total = sum(map_latents(latents).double().sum(dim=0) for latents in chunks)
    assert isinstance(total, Tensor)
    return (total / MEAN_LATENTS).float()
