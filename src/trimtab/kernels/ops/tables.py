"""Value tables that more than one room rounds to."""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

DECADES = 7


@cache
def dynamic_map(signed: bool = True) -> Float[Tensor, "256"]:
    """Give the 256 values of the dynamic 8-bit type, ascending.

    Each decade from 1e-6 to 1 has twice as many values as the one below it, evenly spread; 0 and 1 are added. The
    unsigned type spends the sign's bit on a finer spread. The tensor is shared: do not write to it.

    Source: arXiv:1511.04561; the even split is taken in float32, as in published 8-bit states.
    """
    values = [0.0, 1.0]
    for decade in range(DECADES):
        edges = torch.linspace(0.1, 1, 2 ** (decade + (not signed)) + 1, dtype=torch.float32)
        middles = (10 ** (decade + 1 - DECADES)) * ((edges[:-1] + edges[1:]) / 2)
        values += middles.tolist()
        if signed:
            values += (-middles).tolist()
    return torch.tensor(sorted(values), dtype=torch.float32)


@cache
def midpoints(signed: bool = True) -> Float[Tensor, "255"]:
    """Give the largest value that rounds to each entry of the dynamic map but the last; a tie goes down."""
    values = dynamic_map(signed).double()
    return ((values[:-1] + values[1:]) / 2).float()
