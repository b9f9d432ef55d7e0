"""Calls ``csrc/low_rank.c`` and the product with something beside; twins of ``low_rank_reference``."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import Structure, byref, c_float, c_int, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from trimtab.core.errors import ResourceError
from trimtab.kernels import cpu
from trimtab.kernels import low_rank_reference as reference
from trimtab.kernels._library import function
from trimtab.kernels.packed import Packed4bit

_P, _N, _I = c_void_p, c_int64, c_int
_DOWN = "trimtab_low_rank_down", (_P, _P, _N, _N, _N, _P, _I, _I), _I
_GRADS = "trimtab_low_rank_grads", (_P, _I, _I), _I


class LowRankJob(Structure):
    """``low_rank_job`` of csrc/kernels.h."""

    _fields_ = (
        *((name, _P) for name in ("grad", "x", "low", "b")),
        *((name, _N) for name in ("rows", "inputs", "outputs", "rank")),
        ("scale", c_float),
        *((name, _P) for name in ("low_grad", "a_grad", "b_grad")),
    )


def low_rank_down(x: Tensor, a: Tensor) -> Tensor:
    """See ``low_rank_reference``."""
    if cpu.level() == cpu.PORTABLE or not x.numel():
        return reference.low_rank_down(x, a)
    x, a = x.contiguous(), a.contiguous()
    low = x.new_empty(x.shape[0], a.shape[0])
    _call(function(*_DOWN), x.data_ptr(), a.data_ptr(), *x.shape, a.shape[0], low.data_ptr())
    return low


def low_rank_grads(grad: Tensor, x: Tensor, low: Tensor, b: Tensor, scaling: float) -> tuple[Tensor, Tensor, Tensor]:
    """See ``low_rank_reference``."""
    if cpu.level() == cpu.PORTABLE or not x.numel() or not grad.numel():
        return reference.low_rank_grads(grad, x, low, b, scaling)
    grad, x, low, b = grad.contiguous(), x.contiguous(), low.contiguous(), b.contiguous()
    rank, inputs = b.shape[1], x.shape[1]
    low_grad, a_grad, b_grad = torch.empty_like(low), x.new_empty(rank, inputs), torch.empty_like(b)
    given, results = (grad, x, low, b), (low_grad, a_grad, b_grad)
    sizes = *x.shape, b.shape[0], rank
    job = LowRankJob(*(t.data_ptr() for t in given), *sizes, scaling, *(t.data_ptr() for t in results))
    _call(function(*_GRADS), byref(job))
    return results


def product_4bit_beside(
    x: Tensor, packed: Packed4bit, bias: Tensor | None, low: Tensor, factor: Tensor, scaling: float, turned: bool
) -> Tensor:
    """See ``low_rank_reference``."""
    if cpu.lacks_product(x, packed):
        return reference.product_4bit_beside(x, packed, bias, low, factor, scaling, turned)
    beside = low.contiguous(), factor.contiguous(), scaling
    return cpu.product(x, packed, bias, turned=turned, beside=beside)


def _call(called: Callable[..., Any], *arguments: Any) -> None:
    if not called(*arguments, cpu.level(), torch.get_num_threads()):
        raise ResourceError("no memory for an adapter's scratch space. Close other programs, or use a lower rank.")
