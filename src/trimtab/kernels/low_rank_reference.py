"""What the operators of low-rank adapters compute, in plain PyTorch: the specification of ``csrc/low_rank.c``."""

from __future__ import annotations

from typing import TypeAlias

from jaxtyping import Float32
from torch import Tensor

from trimtab.kernels import reference
from trimtab.kernels.packed import Packed4bit

Grads: TypeAlias = tuple[Float32[Tensor, "rows rank"], Float32[Tensor, "rank inputs"], Float32[Tensor, "outputs rank"]]
"""Gradients with respect to the narrow image and both factors."""


def low_rank_down(x: Float32[Tensor, "rows inputs"], a: Float32[Tensor, "rank inputs"]) -> Float32[Tensor, "rows rank"]:
    """Give ``x a^T``."""
    return x @ a.t()


def low_rank_grads(
    grad: Float32[Tensor, "rows outputs"],
    x: Float32[Tensor, "rows inputs"],
    low: Float32[Tensor, "rows rank"],
    b: Float32[Tensor, "outputs rank"],
    scaling: float,
) -> Grads:
    """Give the gradients of ``scaling * (x a^T) b^T`` with respect to ``x a^T``, a and b."""
    low_grad = (grad @ b).mul_(scaling)
    return low_grad, low_grad.t() @ x, (grad.t() @ low).mul_(scaling)


def product_4bit_beside(
    x: Float32[Tensor, "rows depth"],
    packed: Packed4bit,
    bias: Float32[Tensor, " outputs"] | None,
    low: Float32[Tensor, "rows rank"],
    factor: Float32[Tensor, "..."],
    scaling: float,
    turned: bool,
) -> Float32[Tensor, "rows wide"]:
    """Give ``x W^T + bias + scaling * low factor^T`` where ``turned``, else ``x W + scaling * low factor``."""
    y = reference.linear_4bit(x, packed, bias) if turned else reference.linear_4bit_input_grad(x, packed)
    return y.addmm_(low, factor.t() if turned else factor, alpha=scaling)
