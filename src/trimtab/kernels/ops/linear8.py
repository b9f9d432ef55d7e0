"""Linear layer on a frozen weight in rows of 8-bit integers, differentiable in its input and bias."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Float32, Int8
from torch import Tensor

from trimtab.kernels import checks
from trimtab.kernels.choose import backend
from trimtab.kernels.registry import register, register_gradient, takes_short_path


def linear_8bit(
    x: Float[Tensor, "*batch cols"],
    codes: Int8[Tensor, "rows cols"],
    scales: Float32[Tensor, " rows"],
    bias: Float[Tensor, " rows"] | None = None,
    *,
    impl: str = "auto",
) -> Float[Tensor, "*batch rows"]:
    """Multiply by the transpose of codes times scales over 127, and add the bias; activations are never rounded.

    Raises:
        RangeError: shapes, dtypes or devices do not fit, or an implementation is not allowed.
    """
    call = _linear_8bit if takes_short_path(x, bias) else _linear_8bit_op
    y: Tensor = call(x, codes, scales, bias, impl)
    return y


def linear_8bit_input_grad(
    grad: Float[Tensor, "*batch rows"],
    codes: Int8[Tensor, "rows cols"],
    scales: Float32[Tensor, " rows"],
    *,
    impl: str = "auto",
) -> Float[Tensor, "*batch cols"]:
    """Multiply by the weight: the gradient of ``linear_8bit`` with respect to its input.

    Raises:
        RangeError: shapes, dtypes or devices do not fit, or an implementation is not allowed.
    """
    call = _input_grad if takes_short_path(grad) else _input_grad_op
    dx: Tensor = call(grad, codes, scales, impl)
    return dx


def _linear_8bit(x: Tensor, codes: Tensor, scales: Tensor, bias: Tensor | None, impl: str) -> Tensor:
    checks.rows_8bit(codes, scales)
    checks.operand("x", x, codes.shape[1], codes.device)
    checks.bias_of(bias, codes.shape[0], codes.device)
    y: Tensor = backend(codes.device.type, impl).linear_8bit(x, codes, scales, bias)
    return y


def _linear_8bit_fake(x: Tensor, codes: Tensor, scales: Tensor, bias: Tensor | None, impl: str) -> Tensor:
    return x.new_empty((*x.shape[:-1], codes.shape[0]))


def _input_grad(grad: Tensor, codes: Tensor, scales: Tensor, impl: str) -> Tensor:
    checks.rows_8bit(codes, scales)
    checks.operand("grad", grad, codes.shape[0], codes.device)
    dx: Tensor = backend(codes.device.type, impl).linear_8bit_input_grad(grad, codes, scales)
    return dx


def _input_grad_fake(grad: Tensor, codes: Tensor, scales: Tensor, impl: str) -> Tensor:
    return grad.new_empty((*grad.shape[:-1], codes.shape[1]))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, codes, scales, bias, impl = inputs
    ctx.save_for_backward(codes, scales)
    ctx.bias_dtype, ctx.impl = None if bias is None else bias.dtype, impl


def _setup_input_grad(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, codes, scales, impl = inputs
    ctx.save_for_backward(codes, scales)
    ctx.impl = impl


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    dx = dbias = None
    if ctx.needs_input_grad[0]:
        dx = _input_grad_op(grad, *ctx.saved_tensors, ctx.impl)
    if ctx.needs_input_grad[3]:
        dbias = grad.float().reshape(-1, grad.shape[-1]).sum(dim=0).to(ctx.bias_dtype)
    return dx, None, None, dbias, None


def _backward_input_grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return _linear_8bit_op(grad, *ctx.saved_tensors, None, ctx.impl), None, None, None


_linear_8bit_op = register(
    "linear_8bit(Tensor x, Tensor codes, Tensor scales, Tensor? bias, str impl) -> Tensor",
    _linear_8bit,
    _linear_8bit_fake,
)
_input_grad_op = register(
    "linear_8bit_input_grad(Tensor grad, Tensor codes, Tensor scales, str impl) -> Tensor",
    _input_grad,
    _input_grad_fake,
)
register_gradient("linear_8bit", _backward, _setup)
register_gradient("linear_8bit_input_grad", _backward_input_grad, _setup_input_grad)
