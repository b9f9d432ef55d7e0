"""The directions in which a generator's own styles vary, and by how much in each.

Adam gives every number of a style the same speed, whether or not the generator ever sees it change so much. In natural
directions a step goes far where styles differ much and hardly at all where they never do, so that faces stay faces.
"""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float32
from torch import Tensor

from trimtab.models.stylegan.generator import Generator

SAMPLES: Final = 2048
SEED: Final = 0
_known: WeakKeyDictionary[Generator, Tensor] = WeakKeyDictionary()


def natural_directions(generator: Generator) -> Float32[Tensor, "width width"]:
    """Give the principal directions of a generator's styles as rows, each as long as the variance along it.

    The lengths are scaled to a mean square of 1, so that a learning rate means the same with and without them. The
    samples are always the same; the result is remembered as long as the generator lives, which never changes.
    """
    if generator not in _known:
        _known[generator] = _principal(generator)
    return _known[generator].to(generator.w_mean)


@torch.no_grad()
def _principal(generator: Generator) -> Tensor:
    latents = torch.randn(SAMPLES, generator.z_width, generator=torch.Generator().manual_seed(SEED))
    covariance = torch.cov(generator.map(latents.to(generator.w_mean)).cpu().double().T)
    variances, directions = torch.linalg.eigh(covariance)
    lengths = variances.clamp(min=0) / variances.square().mean().sqrt()
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    rows: Tensor = (directions * largest.sign() * lengths).T  # eigenvectors have no sign of their own
    return rows.float().contiguous()
