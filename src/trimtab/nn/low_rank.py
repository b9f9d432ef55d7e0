"""One node of the backward pass for a frozen layer and the adapter beside it.

Written out as separate operations, an adapter makes a second output and a second input gradient as large as the
layer's own, only to add them. Here both come out of the layer's own product, and what is kept is the input and its
low-rank image.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trimtab.kernels import ops
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
        low = ops.low_rank_down(x, a)
        ctx.save_for_backward(x, low, a, b)
        ctx.scaling, ctx.base = scaling, base
        if _in_4_bits(base):
            return ops.product_4bit_beside(
                x, base.quantized.packed(), low=low, factor=b, scaling=scaling, bias=base.bias
            )
        y: Tensor = base(x)
        return y.addmm_(low, b.t(), alpha=scaling)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, low, a, b = ctx.saved_tensors
        grad = upstream[0].contiguous()
        low_grad, da, db = ops.low_rank_grads(grad, x, low, b, scaling=ctx.scaling)
        dx = _input_grad(ctx.base, grad, low_grad, a) if ctx.needs_input_grad[0] else None
        return dx, da, db, None, None


def _input_grad(base: nn.Linear | QuantizedLinear, grad: Tensor, low_grad: Tensor, a: Tensor) -> Tensor:
    if _in_4_bits(base):
        assert isinstance(base, QuantizedLinear)
        return ops.product_4bit_beside(grad, base.quantized.packed(), low=low_grad, factor=a, turned=False)
    return input_grad(base, grad).addmm_(low_grad, a)


def _in_4_bits(base: nn.Linear | QuantizedLinear) -> bool:
    return isinstance(base, QuantizedLinear) and base.kind != "int8"
