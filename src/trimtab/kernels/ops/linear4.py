"""Linear layer on a frozen 4-bit weight, differentiable in its input and bias."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from trimtab.kernels import checks
from trimtab.kernels.choose import backend
from trimtab.kernels.packed import PARTS, SCHEMA, Packed4bit, gather
from trimtab.kernels.registry import register, register_gradient, takes_short_path


def linear_4bit(
    x: Float[Tensor, "*batch cols"],
    codes: UInt8[Tensor, "..."],
    absmax: Float32[Tensor, " blocks"] | UInt8[Tensor, " blocks"],
    table: Float32[Tensor, "16"],
    *,
    shape: tuple[int, int],
    block_size: int,
    nested_absmax: Float32[Tensor, " nested"] | None = None,
    nested_offset: Float32[Tensor, ""] | None = None,
    nested_table: Float32[Tensor, "256"] | None = None,
    bias: Float[Tensor, " rows"] | None = None,
    exact: bool = False,
    impl: str = "auto",
) -> Float[Tensor, "*batch rows"]:
    """Multiply by the weight's transpose and add the bias.

    Where a gradient is asked for, the arithmetic is float32 on the dequantised weight, and the backward pass reads
    the codes again: no dense copy is kept. The arguments from ``codes`` to ``nested_table`` are the parts of a
    ``Packed4bit``, listed one by one so that a layer can pass the buffers it holds.

    Args:
        x: activations, float32, float16 or bfloat16; the result has the same dtype.
        bias: one value a row.
        exact: without a gradient, compiled code may round activations and levels to integers for a single row (relative
            error near 1e-4, far below that of 4 bits); True forbids it.
        impl: "auto", or one implementation by name.

    Raises:
        RangeError: shapes, dtypes or devices do not fit, or an implementation is not allowed.
    """
    packed = Packed4bit(codes, absmax, table, shape, block_size, nested_absmax, nested_offset, nested_table)
    if takes_short_path(x, bias):
        return _forward(x, packed, bias, exact, impl)
    exact = exact or (torch.is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad)))
    y: Tensor = _linear_4bit_op(x, *packed.spread(), bias, exact, impl)
    return y


def linear_4bit_input_grad(
    grad: Float[Tensor, "*batch rows"], packed: Packed4bit, *, impl: str = "auto"
) -> Float[Tensor, "*batch cols"]:
    """Multiply by the weight: the gradient of ``linear_4bit`` with respect to its input.

    Raises:
        RangeError: shapes, dtypes or devices do not fit, or an implementation is not allowed.
    """
    call = _input_grad if takes_short_path(grad) else _input_grad_op
    dx: Tensor = call(grad, *packed.spread(), impl)
    return dx


def _forward(x: Tensor, packed: Packed4bit, bias: Tensor | None, exact: bool, impl: str) -> Tensor:
    checks.packed_4bit(packed)
    rows, cols = packed.shape
    device = packed.codes.device
    checks.operand("x", x, cols, device)
    checks.bias_of(bias, rows, device)
    y: Tensor = backend(device.type, impl).linear_4bit(x, packed, bias, exact)
    return y


def _linear_4bit(x: Tensor, *args: Any) -> Tensor:
    bias, exact, impl = args[PARTS:]
    return _forward(x, gather(args[:PARTS]), bias, exact, impl)


def _linear_4bit_fake(x: Tensor, *args: Any) -> Tensor:
    return x.new_empty((*x.shape[:-1], gather(args[:PARTS]).shape[0]))


def _input_grad(grad: Tensor, *args: Any) -> Tensor:
    packed = gather(args[:PARTS])
    checks.packed_4bit(packed)
    device = packed.codes.device
    checks.operand("grad", grad, packed.shape[0], device)
    dx: Tensor = backend(device.type, args[PARTS]).linear_4bit_input_grad(grad, packed)
    return dx


def _input_grad_fake(grad: Tensor, *args: Any) -> Tensor:
    return grad.new_empty((*grad.shape[:-1], gather(args[:PARTS]).shape[1]))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *_, bias, _, impl = inputs
    _keep_weight(ctx, inputs[1 : PARTS + 1])
    ctx.bias_dtype, ctx.impl = None if bias is None else bias.dtype, impl


def _setup_input_grad(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _keep_weight(ctx, inputs[1 : PARTS + 1])
    ctx.impl = inputs[-1]


def _keep_weight(ctx: Any, parts: tuple[Any, ...]) -> None:
    """Remember the codes and scales themselves, which the layer holds anyway."""
    *tensors, ctx.shape, ctx.block_size = parts
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    dx = dbias = None
    if ctx.needs_input_grad[0]:
        dx = _input_grad_op(grad, *ctx.saved_tensors, ctx.shape, ctx.block_size, ctx.impl)
    if ctx.needs_input_grad[PARTS + 1]:
        dbias = grad.float().reshape(-1, grad.shape[-1]).sum(dim=0).to(ctx.bias_dtype)
    return (dx, *[None] * PARTS, dbias, None, None)


def _backward_input_grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    dgrad = _linear_4bit_op(grad, *ctx.saved_tensors, ctx.shape, ctx.block_size, None, True, ctx.impl)
    return (dgrad, *[None] * (PARTS + 1))


_linear_4bit_op = register(
    f"linear_4bit(Tensor x, {SCHEMA}, Tensor? bias, bool exact, str impl) -> Tensor", _linear_4bit, _linear_4bit_fake
)
_input_grad_op = register(
    f"linear_4bit_input_grad(Tensor grad, {SCHEMA}, str impl) -> Tensor", _input_grad, _input_grad_fake
)
register_gradient("linear_4bit", _backward, _setup)
register_gradient("linear_4bit_input_grad", _backward_input_grad, _setup_input_grad)
