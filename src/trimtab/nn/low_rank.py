"""One node of the backward pass for a frozen layer and the adapter beside it.

Written out as separate operations, an adapter makes a second output and a second input gradient as large as the
layer's own, only to add them. Here both are added in place, and what is kept is the input and its low-rank image.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.nn.linear import QuantizedLinear, input_grad


def adapted(
    x: Float[Tensor, "rows inputs"],
    base: nn.Linear | QuantizedLinear,
    a: Float[Tensor, "rank inputs"],
    b: Float[Tensor, "outputs rank"],
    scaling: float,
) -> Float[Tensor, "rows outputs"]:
    """Compute ``base(x) + scaling * (x a^T) b^T``, differentiable in x, a and b."""
    apply: Any = _Adapted.apply
    y: Tensor = apply(x, a, b, scaling, base)
    return y


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor, scaling: float, base: Any) -> Tensor:
        y = base(x)
        low = x @ a.t()
        ctx.save_for_backward(x, low, a, b)
        ctx.scaling, ctx.base = scaling, base
        updated: Tensor = y.addmm_(low, b.t(), alpha=scaling)
        return updated

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, low, a, b = ctx.saved_tensors
        grad = upstream[0].contiguous()
        wants_x, wants_a, wants_b = ctx.needs_input_grad[:3]
        low_grad = (grad @ b).mul_(ctx.scaling)
        dx = input_grad(ctx.base, grad).addmm_(low_grad, a) if wants_x else None
        da = low_grad.t() @ x if wants_a else None
        db = (grad.t() @ low).mul_(ctx.scaling) if wants_b else None
        return dx, da, db, None, None
