"""What may be given to the optimizer, and the words in which anything else is refused."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from trimtab.core.errors import RangeError

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def check_settings(lr: float, betas: tuple[float, float], *, eps: float, weight_decay: float, bits: int) -> None:
    """Insist that every number lies in its range.

    Raises:
        RangeError: one does not.
    """
    allowed = [
        ("lr", lr, lr >= 0, "0 or more"),
        ("betas", betas, all(0 <= beta < 1 for beta in betas) and len(betas) == 2, "two numbers from 0 to below 1"),
        ("eps", eps, eps >= 0, "0 or more"),
        ("weight_decay", weight_decay, weight_decay >= 0, "0 or more"),
        ("bits", bits, bits in (8, 32), "8, 32"),
    ]
    for name, value, is_allowed, words in allowed:
        if not is_allowed:
            raise RangeError(f"{name}={value}. Allowed: {words}.")


def check_dtypes(params: Iterable[tuple[str, Tensor]]) -> None:
    """Insist that parameters, each behind its name, are of types that can be stepped.

    Raises:
        RangeError: one is not.
    """
    for name, param in params:
        if param.dtype not in DTYPES:
            raise RangeError(f"Parameter {name} is {param.dtype}. Allowed: {', '.join(map(str, DTYPES))}.")
