"""Passes over activations that would otherwise be many: norm and gated activation. Float32."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.kernels import checks, fused_cpu, fused_reference
from trimtab.kernels.choose import pick
from trimtab.kernels.registry import register, register_gradient

_module = partial(pick, compiled=fused_cpu, reference=fused_reference)


def rms_norm(
    x: Float32[Tensor, "*batch cols"],
    weight: Float32[Tensor, " cols"],
    *,
    offset: float = 0.0,
    eps: float = 1e-6,
    impl: str = "auto",
) -> Float32[Tensor, "*batch cols"]:
    """Divide each row by its root mean square and multiply by ``weight + offset``.

    Raises:
        RangeError: shapes, dtypes or devices do not fit, or an implementation is not allowed.

    Source: arXiv:1910.07467, equation 4.
    """
    y: Tensor = _rms_norm_op(x, weight, offset, eps, impl)[0]
    return y


def gated_silu(
    gate: Float32[Tensor, "*shape"], up: Float32[Tensor, "*shape"], *, impl: str = "auto"
) -> Float32[Tensor, "*shape"]:
    """Compute ``silu(gate) * up``, keeping nothing for the backward pass but its two inputs.

    Raises:
        RangeError: shapes, dtypes or devices do not fit, or an implementation is not allowed.

    Source: arXiv:2002.05202, equation 5 (SwiGLU).
    """
    y: Tensor = _gated_silu_op(gate, up, impl)
    return y


def _refuse(problem: bool, what: str) -> None:
    if problem:
        raise RangeError(f"{what}. Allowed: float32 tensors of fitting shapes on one device.")


def _rms_norm(x: Tensor, weight: Tensor, offset: float, eps: float, impl: str) -> tuple[Tensor, Tensor]:
    checks.float32_together(x=x, weight=weight)
    _refuse(x.dim() == 0 or weight.shape != x.shape[-1:], f"x {list(x.shape)} and weight {list(weight.shape)}")
    pair: tuple[Tensor, Tensor] = _module(x, impl).rms_norm(x, weight, offset, eps)
    return pair


def _rms_norm_fake(x: Tensor, weight: Tensor, offset: float, eps: float, impl: str) -> tuple[Tensor, Tensor]:
    rows = 1
    for size in x.shape[:-1]:
        rows = rows * size
    return torch.empty_like(x, memory_format=torch.contiguous_format), x.new_empty((rows,))


def _rms_norm_grad(grad: Tensor, x: Tensor, weight: Tensor, roots: Tensor, offset: float, impl: str) -> Tensor:
    checks.float32_together(grad=grad, x=x, weight=weight, roots=roots)
    _refuse(grad.shape != x.shape, f"grad {list(grad.shape)} and x {list(x.shape)}")
    _refuse(roots.numel() * x.shape[-1] != x.numel(), f"roots {list(roots.shape)} and x {list(x.shape)}")
    dx: Tensor = _module(x, impl).rms_norm_grad(grad, x, weight, roots, offset)
    return dx


def _gated_silu(gate: Tensor, up: Tensor, impl: str) -> Tensor:
    checks.float32_together(gate=gate, up=up)
    _refuse(gate.shape != up.shape, f"gate {list(gate.shape)} and up {list(up.shape)}")
    y: Tensor = _module(gate, impl).gated_silu(gate, up)
    return y


def _gated_silu_grad(grad: Tensor, gate: Tensor, up: Tensor, impl: str) -> tuple[Tensor, Tensor]:
    checks.float32_together(grad=grad, gate=gate, up=up)
    _refuse(grad.shape != gate.shape, f"grad {list(grad.shape)} and gate {list(gate.shape)}")
    pair: tuple[Tensor, Tensor] = _module(gate, impl).gated_silu_grad(grad, gate, up)
    return pair


def _like(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _two_like(_: Tensor, gate: Tensor, up: Tensor, *__: Any) -> tuple[Tensor, Tensor]:
    return _like(gate), _like(up)


_rms_norm_op = register(
    "rms_norm(Tensor x, Tensor weight, float offset, float eps, str impl) -> (Tensor, Tensor)",
    _rms_norm,
    _rms_norm_fake,
)
_rms_norm_grad_op = register(
    "rms_norm_grad(Tensor grad, Tensor x, Tensor weight, Tensor roots, float offset, str impl) -> Tensor",
    _rms_norm_grad,
    _like,
)
_gated_silu_op = register("gated_silu(Tensor gate, Tensor up, str impl) -> Tensor", _gated_silu, _like)
_gated_silu_grad_op = register(
    "gated_silu_grad(Tensor grad, Tensor gate, Tensor up, str impl) -> (Tensor, Tensor)", _gated_silu_grad, _two_like
)


def _keep_norm(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, ctx.offset, _, ctx.impl = inputs
    ctx.save_for_backward(x, weight, output[1])
    ctx.mark_non_differentiable(output[1])


def _norm_backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    x, weight, roots = ctx.saved_tensors
    dx = _rms_norm_grad_op(grad, x, weight, roots, ctx.offset, ctx.impl) if ctx.needs_input_grad[0] else None
    dweight = None
    if ctx.needs_input_grad[1]:
        dweight = (grad * x * roots.view(*x.shape[:-1], 1)).reshape(-1, x.shape[-1]).sum(dim=0)
    return dx, dweight, None, None, None


def _keep_gate(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    gate, up, ctx.impl = inputs
    ctx.save_for_backward(gate, up)


def _gate_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return (*_gated_silu_grad_op(grad, *ctx.saved_tensors, ctx.impl), None)


register_gradient("rms_norm", _norm_backward, _keep_norm)
register_gradient("gated_silu", _gate_backward, _keep_gate)
