"""The mean style."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trimtab.models.stylegan.mean import MEAN_LATENTS, MEAN_SEED, mean_style


@pytest.mark.parametrize("width", [3, 8])
def test_it_is_that_of_latents_drawn_at_once(width):
    drawn = torch.randn(MEAN_LATENTS, width, generator=torch.Generator().manual_seed(MEAN_SEED))
    mean = mean_style(lambda z: z.exp(), width)
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, drawn.double().exp().mean(dim=0).float(), rtol=1e-6, atol=0)


def test_latents_are_never_all_in_memory():
    sizes = []

    def seen(latents: Tensor) -> Tensor:
        sizes.append(len(latents))
        return latents

    mean_style(seen, 2)
    assert sum(sizes) == MEAN_LATENTS
    assert max(sizes) <= MEAN_LATENTS // 20
