"""Gradient clipping by the norm of all gradients together."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

import torch
from torch import Tensor

from trimtab.core.errors import RangeError


@torch.no_grad()
def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients down where their common length exceeds ``max_norm``.

    Args:
        params: those without a gradient are passed over.
        max_norm: above 0; infinity measures without clipping.

    Returns:
        The length before clipping (Euclidean norm over all elements). Where it is NaN or infinite no gradient was
        changed, and the caller, who knows the names, should refuse to go on.

    Raises:
        RangeError: ``max_norm`` is not above 0.

    Source: arXiv:1211.5063, algorithm 1.
    """
    if not max_norm > 0:
        raise RangeError(f"clip_norm={max_norm}. Allowed: above 0; use infinity for no clipping.")
    grads = [param.grad for param in params if param.grad is not None]
    if not grads:
        return 0.0
    norm = float(torch.nn.utils.get_total_norm(grads))
    if isfinite(norm) and norm > max_norm:
        torch._foreach_mul_(grads, max_norm / norm)
    return norm
