"""Calls the attention of ``csrc/attention.c``; twins of ``attention_reference``, equal to rounding."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import Structure, byref, c_float, c_int, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from trimtab.core.errors import ResourceError
from trimtab.kernels import cpu
from trimtab.kernels._library import function

_P, _N, _I = c_void_p, c_int64, c_int
_ATTENTION = "trimtab_attention", (_P, _P, _P, _I, _I), _I
_ATTENTION_GRAD = "trimtab_attention_grad", (_P, _P, _I, _I), _I


class Strided(Structure):
    """``strided`` of csrc/kernels.h."""

    _fields_ = (("data", _P), ("batch", _N), ("head", _N), ("time", _N))


class Attention(Structure):
    """``attention`` of csrc/kernels.h."""

    _fields_ = (
        ("q", Strided),
        ("k", Strided),
        ("v", Strided),
        ("starts", _P),
        ("batch", _N),
        ("heads", _N),
        ("kv_heads", _N),
        ("queries", _N),
        ("keys", _N),
        ("head", _N),
        ("scale", c_float),
    )


class Gradients(Structure):
    """``gradients`` of csrc/kernels.h."""

    _fields_ = (("grad", Strided), ("out", _P), ("totals", _P), ("dq", _P), ("dk", _P), ("dv", _P))


def _call(called: Callable[..., Any], *arguments: Any) -> None:
    if not called(*arguments, cpu.level(), torch.get_num_threads()):
        raise ResourceError("attention: there is no memory for a copy of keys and values. Use shorter sequences.")


def _dense(x: Tensor) -> Tensor:
    """Give a tensor whose last dimension lies together; views that only swap the others stay as they are."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _strided(x: Tensor) -> Strided:
    """Describe (batch, heads, time, head)."""
    return Strided(x.data_ptr(), x.stride(0), x.stride(1), x.stride(2))


def _job(q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None, scale: float) -> Attention:
    (batch, heads, queries, head), (_, kv_heads, keys, _) = q.shape, k.shape
    place = None if starts is None else starts.data_ptr()
    sizes = batch, heads, kv_heads, queries, keys, head
    return Attention(_strided(q), _strided(k), _strided(v), place, *sizes, scale)


def _ready(starts: Tensor | None, batch: int) -> Tensor | None:
    return None if starts is None else starts.expand(batch, -1).contiguous()


def attention(q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """See ``attention_reference``."""
    q, k, v, starts = _dense(q), _dense(k), _dense(v), _ready(starts, q.shape[0])
    batch, heads, queries, head = q.shape
    out, totals = torch.empty(batch, queries, heads, head), torch.empty(batch, heads, queries)
    if out.numel():
        _call(function(*_ATTENTION), byref(_job(q, k, v, starts, scale)), out.data_ptr(), totals.data_ptr())
    return out, totals


def attention_grad(
    grad: Tensor,
    inputs: tuple[Tensor, Tensor, Tensor],
    out: Tensor,
    totals: Tensor,
    starts: Tensor | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """See ``attention_reference``."""
    q, k, v = map(_dense, inputs)
    grad, out, totals, starts = _dense(grad), out.contiguous(), totals.contiguous(), _ready(starts, q.shape[0])
    dq, dk, dv = (torch.empty_like(x.transpose(1, 2), memory_format=torch.contiguous_format) for x in (q, k, v))
    if not out.numel():
        return dq, dk.zero_(), dv.zero_()
    pointers = [tensor.data_ptr() for tensor in (out, totals, dq, dk, dv)]
    passed = Gradients(_strided(grad.transpose(1, 2)), *pointers)
    _call(function(*_ATTENTION_GRAD), byref(_job(q, k, v, starts, scale)), byref(passed))
    return dq, dk, dv
