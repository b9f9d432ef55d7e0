"""The mean style of a generator whose file does not tell it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

MEAN_LATENTS: Final = 10_000
MEAN_SEED: Final = 0


@torch.no_grad()
def mean_style(map_latents: Callable[[Tensor], Tensor], z_width: int) -> Float[Tensor, " width"]:
    """Estimate the mean of the styles of many latents, always the same.

    Args:
        map_latents: gives the styles, (batch, width), of latents, (batch, z_width).
        z_width: numbers in a latent.
    """
    return map_latents(torch.randn(MEAN_LATENTS, z_width, generator=torch.Generator().manual_seed(MEAN_SEED))).mean(
        dim=0
    )
