"""Calls the fused passes of ``csrc/fused.c``; twins of ``fused_reference``, equal to rounding."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_float, c_int, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from trimtab.kernels import cpu
from trimtab.kernels._library import function

_P, _N, _F, _I = c_void_p, c_int64, c_float, c_int
_RMS_NORM = "trimtab_rms_norm", (_P, _P, _F, _F, _N, _N, _P, _P, _I, _I)
_RMS_NORM_GRAD = "trimtab_rms_norm_grad", (_P, _P, _P, _F, _P, _N, _N, _P, _I, _I)
_GATED_SILU = "trimtab_gated_silu", (_P, _P, _N, _P, _I, _I)
_GATED_SILU_GRAD = "trimtab_gated_silu_grad", (_P, _P, _P, _N, _P, _P, _I, _I)


def _call(called: Callable[..., Any], *arguments: Any) -> None:
    plain = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    called(*plain, cpu.level(), torch.get_num_threads())


def rms_norm(x: Tensor, weight: Tensor, offset: float, eps: float) -> tuple[Tensor, Tensor]:
    """See ``fused_reference``."""
    x, weight = x.contiguous(), weight.contiguous()
    cols = x.shape[-1]
    rows = x.numel() // cols if cols else 0
    y, roots = torch.empty_like(x), torch.empty(rows)
    _call(function(*_RMS_NORM), x, weight, offset, eps, rows, cols, y, roots)
    return y, roots


def rms_norm_grad(grad: Tensor, x: Tensor, weight: Tensor, roots: Tensor, offset: float) -> Tensor:
    """See ``fused_reference``."""
    grad, x, weight, roots = grad.contiguous(), x.contiguous(), weight.contiguous(), roots.contiguous()
    dx = torch.empty_like(x)
    _call(function(*_RMS_NORM_GRAD), grad, x, weight, offset, roots, roots.numel(), x.shape[-1], dx)
    return dx


def gated_silu(gate: Tensor, up: Tensor) -> Tensor:
    """See ``fused_reference``."""
    gate, up = gate.contiguous(), up.contiguous()
    y = torch.empty_like(gate)
    _call(function(*_GATED_SILU), gate, up, gate.numel(), y)
    return y


def gated_silu_grad(grad: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """See ``fused_reference``."""
    grad, gate, up = grad.contiguous(), gate.contiguous(), up.contiguous()
    dgate, dup = torch.empty_like(gate), torch.empty_like(up)
    _call(function(*_GATED_SILU_GRAD), grad, gate, up, gate.numel(), dgate, dup)
    return dgate, dup
