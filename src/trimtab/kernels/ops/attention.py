"""Causal softmax attention, forward and backward, without anything of size time x time. Float32."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.kernels import attention_cpu, attention_reference, checks
from trimtab.kernels.attention_reference import Heads, KvHeads, Starts
from trimtab.kernels.choose import pick
from trimtab.kernels.registry import register, register_gradient

_module = partial(pick, compiled=attention_cpu, reference=attention_reference)

LARGEST_HEAD = 256
"""Elements of a head that the compiled code has room for."""


def attention(
    q: Heads,
    k: KvHeads,
    v: KvHeads,
    starts: Starts | None = None,
    *,
    scale: float,
    impl: str = "auto",
) -> Float32[Tensor, "batch queries heads head"]:
    """Average values by the softmax of scaled products of queries and keys.

    Query ``t`` sees the keys from ``starts[t]`` to ``t + keys - queries``, both included: causal attention, also
    behind a cache; with starts also padding on the left, packed examples and sliding windows. A query that sees
    nothing gives zeros. Several query heads in a row may share a key head. No view of the inputs is copied whose last
    dimension lies together. The numbers do not depend on the number of threads.

    Args:
        q: queries.
        k: keys; their heads divide those of the queries.
        v: values.
        starts: the first key each query may see; None for 0 everywhere. Numbers below 0 count as 0.
        scale: multiplies the products.
        impl: "auto", or the name of one implementation.

    Raises:
        RangeError: shapes, dtypes or devices do not fit, or an implementation is not allowed.
        ResourceError: there is no memory for a copy of keys and values.

    Source: arXiv:2205.14135, algorithms 1 and 4; grouped heads as in arXiv:2305.13245.
    """
    out: Tensor = _attention_op(q, k, v, starts, scale, impl)[0]
    return out


def _refuse(problem: bool, what: str) -> None:
    if problem:
        raise RangeError(
            f"{what}. Allowed: float32 q (batch, heads, queries, head) and k, v (batch, kv_heads, keys, head) with "
            f"heads a multiple of kv_heads and head at most {LARGEST_HEAD}, int32 starts (batch, queries), one device."
        )


def _check(q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None) -> None:
    shapes = f"q {list(q.shape)}, k {list(k.shape)} and v {list(v.shape)}"
    _refuse(q.dim() != 4 or k.dim() != 4 or k.shape != v.shape, shapes)
    _refuse(q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3] or not 0 < q.shape[3] <= LARGEST_HEAD, shapes)
    _refuse(k.shape[1] == 0 or q.shape[1] % max(k.shape[1], 1) != 0, shapes)
    checks.float32_together(q=q, k=k, v=v)
    if starts is not None:
        _refuse(starts.shape != (q.shape[0], q.shape[2]), f"starts {list(starts.shape)} with {shapes}")
        _refuse(starts.dtype != torch.int32, f"starts are {starts.dtype}")
        _refuse(starts.device != q.device, f"q is on {q.device}, starts on {starts.device}")


def _attention(
    q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None, scale: float, impl: str
) -> tuple[Tensor, Tensor]:
    _check(q, k, v, starts)
    pair: tuple[Tensor, Tensor] = _module(q, impl).attention(q, k, v, starts, scale)
    return pair


def _attention_fake(q: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    batch, heads, queries, head = q.shape
    return q.new_empty((batch, queries, heads, head)), q.new_empty((batch, heads, queries))


def _attention_grad(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    totals: Tensor,
    starts: Tensor | None,
    scale: float,
    impl: str,
) -> tuple[Tensor, Tensor, Tensor]:
    _check(q, k, v, starts)
    expected = (q.shape[0], q.shape[2], q.shape[1], q.shape[3])
    _refuse(grad.shape != expected or out.shape != expected, f"grad {list(grad.shape)} and out {list(out.shape)}")
    _refuse(totals.shape != q.shape[:3], f"totals {list(totals.shape)} with q {list(q.shape)}")
    checks.float32_together(q=q, grad=grad, out=out, totals=totals)
    three: tuple[Tensor, Tensor, Tensor] = _module(q, impl).attention_grad(grad, (q, k, v), out, totals, starts, scale)
    return three


def _attention_grad_fake(_: Tensor, q: Tensor, k: Tensor, v: Tensor, *__: Any) -> tuple[Tensor, Tensor, Tensor]:
    def turned(x: Tensor) -> Tensor:
        batch, heads, time, head = x.shape
        return x.new_empty((batch, time, heads, head))

    return turned(q), turned(k), turned(v)


_attention_op = register(
    "attention(Tensor q, Tensor k, Tensor v, Tensor? starts, float scale, str impl) -> (Tensor, Tensor)",
    _attention,
    _attention_fake,
)
_attention_grad_op = register(
    "attention_grad(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor out, Tensor totals, Tensor? starts, float scale, "
    "str impl) -> (Tensor, Tensor, Tensor)",
    _attention_grad,
    _attention_grad_fake,
)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, starts, ctx.scale, ctx.impl = inputs
    out, totals = output
    ctx.save_for_backward(q, k, v, out, totals, starts)
    ctx.mark_non_differentiable(totals)


def _backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    q, k, v, out, totals, starts = ctx.saved_tensors
    three = _attention_grad_op(grad, q, k, v, out, totals, starts, ctx.scale, ctx.impl)
    return (*(dx.transpose(1, 2) for dx in three), None, None, None)


register_gradient("attention", _backward, _keep)
