"""Calls the AdamW step of ``csrc/adamw.c``."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int, c_int64, c_void_p
from functools import cache

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from trimtab.kernels import cpu
from trimtab.kernels._library import function
from trimtab.kernels.ops.tables import dynamic_map, midpoints

# Cells of the C code's look-up: every float from 2^-23 to 1 by its upper 16 bits.
LOWEST_CELL, HIGHEST_CELL = 104 << 7, 127 << 7
_P, _N, _I = c_void_p, c_int64, c_int
_ADAMW32 = "trimtab_adamw32", (_P, _P, _P, _P, _P, _N, _P, _I, _I, _I)
_ADAMW8 = "trimtab_adamw8", (_P, _P, _P, _P, _N, _P, _P, _I, _I, _I)
ELEMENTS_PER_THREAD = 1 << 14  # waking a thread for fewer costs more than it saves


@cache
def first_codes(signed: bool) -> UInt8[Tensor, " cells"]:
    """Give the lowest code of each cell, positive cells first; no cell holds more than one midpoint."""
    edges = torch.arange(LOWEST_CELL, HIGHEST_CELL + 2, dtype=torch.int32).bitwise_left_shift(16).view(torch.float32)
    edges[0] = 0.0  # the first cell takes everything below it as well
    positive = torch.bucketize(edges[:-1], midpoints(signed))
    negative = torch.bucketize(-edges[1:], midpoints(signed), right=True)
    padding = torch.zeros(3, dtype=torch.int64)  # a gather reads four bytes at a time
    return torch.cat([positive, negative, padding]).to(torch.uint8)


@cache
def _padded_midpoints(signed: bool) -> Tensor:
    return torch.cat([midpoints(signed), torch.tensor([torch.inf])])


@cache
def _tables() -> ctypes.Array[c_void_p]:
    parts = [
        part
        for signed in (True, False)
        for part in (dynamic_map(signed), _padded_midpoints(signed), first_codes(signed))
    ]
    return (c_void_p * len(parts))(*[part.data_ptr() for part in parts])


def _pointers(tensors: list[Tensor]) -> ctypes.Array[c_void_p]:
    return (c_void_p * len(tensors))(*[tensor.data_ptr() for tensor in tensors])


def step(
    params: list[Tensor],
    grads: list[Tensor],
    state: list[Tensor],
    slices: Int64[Tensor, "slices 4"],
    numbers: list[float],
    *,
    wide: bool = True,
) -> None:
    """Step every slice with 32-bit (two tensors) or 8-bit state (four); ``wide=False`` keeps to the plain C code.

    Tensors are contiguous; parameters and gradients share one type.
    """
    tail = (
        slices.data_ptr(),
        slices.shape[0],
        *([_tables()] if len(state) == 4 else []),
        (c_float * len(numbers))(*numbers),
        cpu.DTYPE_CODES[params[0].dtype],
        cpu.level() if wide else cpu.PORTABLE,
        max(1, min(torch.get_num_threads(), state[0].numel() // ELEMENTS_PER_THREAD)),
    )
    if len(state) == 2:
        parts = [part.data_ptr() for part in state]
        function(*_ADAMW32)(_pointers(params), _pointers(grads), *parts, *tail)
    else:
        function(*_ADAMW8)(_pointers(params), _pointers(grads), _pointers(state), *tail)
