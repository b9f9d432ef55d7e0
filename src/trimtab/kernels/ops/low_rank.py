"""What a low-rank adapter adds to its layer, forward and backward. Float32.

These have no gradient of their own: they are the steps of one node of the backward pass, see ``trimtab.nn.low_rank``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.kernels import checks, low_rank_cpu, low_rank_reference
from trimtab.kernels.choose import pick
from trimtab.kernels.low_rank_reference import Grads
from trimtab.kernels.packed import PARTS, SCHEMA, Packed4bit, gather
from trimtab.kernels.registry import register

_module = partial(pick, compiled=low_rank_cpu, reference=low_rank_reference)


def low_rank_down(
    x: Float32[Tensor, "rows inputs"], a: Float32[Tensor, "rank inputs"], *, impl: str = "auto"
) -> Float32[Tensor, "rows rank"]:
    """Compute ``x a^T``, an adapter's narrow image of its input.

    Raises:
        RangeError: shapes, dtypes or devices do not fit, or an implementation is not allowed.

    Source: arXiv:2106.09685, equation 3.
    """
    low: Tensor = _down_op(x, a, impl)
    return low


def low_rank_grads(
    grad: Float32[Tensor, "rows outputs"],
    x: Float32[Tensor, "rows inputs"],
    low: Float32[Tensor, "rows rank"],
    b: Float32[Tensor, "outputs rank"],
    *,
    scaling: float,
    impl: str = "auto",
) -> Grads:
    """Carry a gradient back through ``scaling * (x a^T) b^T``.

    Compiled code sums the gradients of a and b thread by thread: their last bits depend on the number of threads.

    Args:
        grad: with respect to the adapter's output.
        x: the layer's input.
        low: ``x a^T``, kept from the forward pass.
        b: the second factor.
        scaling: the adapter's strength.
        impl: "auto", or one implementation by name.

    Returns:
        The gradients with respect to ``low``, a and b.

    Raises:
        RangeError: shapes, dtypes or devices do not fit, or an implementation is not allowed.
    """
    grads: tuple[Tensor, Tensor, Tensor] = _grads_op(grad, x, low, b, scaling, impl)
    return grads


def product_4bit_beside(
    x: Float32[Tensor, "rows depth"],
    packed: Packed4bit,
    *,
    low: Float32[Tensor, "rows rank"],
    factor: Float32[Tensor, "..."],
    scaling: float = 1.0,
    bias: Float32[Tensor, " outputs"] | None = None,
    turned: bool = True,
    impl: str = "auto",
) -> Float32[Tensor, "rows wide"]:
    """Multiply by a 4-bit weight and add a low-rank product, in one pass over the result.

    Args:
        x: many rows: inputs of the layer where ``turned``, else gradients of its output.
        packed: the weight (outputs, inputs).
        low: the narrow side of the low-rank product.
        factor: (outputs, rank) where ``turned``, else (rank, inputs).
        scaling: what the low-rank product is multiplied by.
        bias: one value an output; only where ``turned``.
        turned: compute ``x W^T + bias + scaling * low factor^T``; else ``x W + scaling * low factor``.
        impl: "auto", or one implementation by name.

    Raises:
        RangeError: shapes, dtypes or devices do not fit, or an implementation is not allowed.
    """
    y: Tensor = _product_op(x, *packed.spread(), bias, low, factor, scaling, turned, impl)
    return y


def _fit(device: torch.device, **expected: tuple[Tensor, tuple[int, ...]]) -> None:
    for name, (tensor, shape) in expected.items():
        if tensor.dtype != torch.float32 or tensor.device != device or tuple(tensor.shape) != shape:
            raise RangeError(
                f"{name} is {list(tensor.shape)}, {tensor.dtype}, on {tensor.device}. "
                f"Allowed here: {list(shape)}, torch.float32, on {device}. Convert, move or transpose it."
            )


def _down(x: Tensor, a: Tensor, impl: str) -> Tensor:
    checks.matrix("x", x)
    checks.matrix("a", a)
    _fit(x.device, x=(x, tuple(x.shape)), a=(a, (a.shape[0], x.shape[1])))
    low: Tensor = _module(x, impl).low_rank_down(x, a)
    return low


def _grads(grad: Tensor, x: Tensor, low: Tensor, b: Tensor, scaling: float, impl: str) -> tuple[Tensor, Tensor, Tensor]:
    for name, tensor in (("grad", grad), ("x", x), ("low", low), ("b", b)):
        checks.matrix(name, tensor)
    rows, (outputs, rank) = x.shape[0], b.shape
    _fit(x.device, x=(x, tuple(x.shape)), grad=(grad, (rows, outputs)), low=(low, (rows, rank)), b=(b, (outputs, rank)))
    grads: tuple[Tensor, Tensor, Tensor] = _module(x, impl).low_rank_grads(grad, x, low, b, scaling)
    return grads


def _product(x: Tensor, *args: Any) -> Tensor:
    packed = gather(args[:PARTS])
    bias, low, factor, scaling, turned, impl = args[PARTS:]
    checks.packed_4bit(packed)
    checks.matrix("x", x)
    checks.matrix("low", low)
    rows, cols = packed.shape
    rank = low.shape[1]
    device = packed.codes.device
    _fit(
        device,
        x=(x, (low.shape[0], cols if turned else rows)),
        low=(low, (x.shape[0], rank)),
        factor=(factor, (rows, rank) if turned else (rank, cols)),
    )
    checks.bias_of(bias, rows, device)
    if bias is not None and not turned:
        raise RangeError("a bias was given beside turned=False. Allowed: None; a gradient has no bias.")
    y: Tensor = _module(x, impl).product_4bit_beside(x, packed, bias, low, factor, scaling, turned)
    return y


def _down_fake(x: Tensor, a: Tensor, impl: str) -> Tensor:
    return x.new_empty(x.shape[0], a.shape[0])


def _grads_fake(grad: Tensor, x: Tensor, low: Tensor, b: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return low.new_empty(low.shape), x.new_empty(b.shape[1], x.shape[1]), b.new_empty(b.shape)


def _product_fake(x: Tensor, *args: Any) -> Tensor:
    rows, cols = gather(args[:PARTS]).shape
    return x.new_empty(x.shape[0], rows if args[PARTS + 4] else cols)


_down_op = register("low_rank_down(Tensor x, Tensor a, str impl) -> Tensor", _down, _down_fake)
_grads_op = register(
    "low_rank_grads(Tensor grad, Tensor x, Tensor low, Tensor b, float scaling, str impl) -> (Tensor, Tensor, Tensor)",
    _grads,
    _grads_fake,
)
_product_op = register(
    f"product_4bit_beside(Tensor x, {SCHEMA}, Tensor? bias, Tensor low, Tensor factor, float scaling, bool turned, "
    "str impl) -> Tensor",
    _product,
    _product_fake,
)
