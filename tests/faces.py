"""Latents of drawn faces, and faces with some numbers set."""

from __future__ import annotations

import torch
from torch import Tensor

from trimtab.drag.face_world.parameters import NAMES, normalised


def faces(count: int, *, seed: int = 0) -> Tensor:
    """Give latents, (count, 32), of random faces."""
    return normalised(torch.randn(count, 32, generator=torch.Generator().manual_seed(seed)))


def with_values(values: Tensor, **named: float) -> Tensor:
    """Give faces whose numbers of these names are set."""
    changed = values.clone()
    for name, value in named.items():
        changed[:, NAMES.index(name)] = value
    return changed
