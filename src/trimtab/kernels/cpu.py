"""The compiled kernels: hands checked tensors to the C library.

The functions that operators call have twins of the same name in ``reference``. Long inputs are multiplied by our own
float32 matrix product, which makes the weight dense a tile at a time while it packs it; where the processor lacks AVX2,
and for 8-bit weights, by PyTorch's, with the tile in a buffer that is used again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from ctypes import Structure, addressof, byref, c_float, c_int, c_int64, c_void_p
from functools import cache, partial
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Float32, Int8, UInt8
from torch import Tensor

from trimtab.core.errors import ResourceError
from trimtab.kernels import checks, reference
from trimtab.kernels._library import function, library
from trimtab.kernels.packed import FLOATS, Packed4bit, blocks_of

GROUP = 64
"""The kernels for few rows take this many columns at a time."""

PORTABLE = 0
"""The level of plain C, without vector instructions of its own."""

FEW_ROWS = 16
"""Rows of activations up to which our own kernels beat tiles and a matrix product."""

TILE = 1 << 23
"""Weights that are dense at a time: 32 MB in float32. Smaller tiles cost more in waiting between threads."""

DTYPE_CODES = {dtype: code for code, dtype in enumerate(FLOATS)}

_P, _N, _I = c_void_p, c_int64, c_int
_QUANTIZE_4BIT = "trimtab_quantize_4bit", (_P, _I, _N, _N, _P, _P, _P, _P, _I, _I)
_DEQUANTIZE_4BIT = "trimtab_dequantize_4bit", (_P, _N, _N, _N, _N, _P, _I, _I, _I)
_LINEAR_4BIT = "trimtab_linear_4bit", (_P, _P, _N, _P, _P, _I, _I, _I), _I
_PRODUCT_4BIT = "trimtab_product_4bit", (_P, _I, _I), _I
_QUANTIZE_8BIT = "trimtab_quantize_8bit", (_P, _N, _N, _P, _I, _P, _P, _I)
_DEQUANTIZE_8BIT = "trimtab_dequantize_8bit", (_P, _N, _N, _P, _P, _P, _I)
_DEQUANTIZE_ROWS = "trimtab_dequantize_rows", (_P, _N, _N, _N, _N, _P, _I, _I)
_LINEAR_8BIT = "trimtab_linear_8bit", (_P, _P, _N, _P, _P, _I, _I), _I

quantize_rows = reference.quantize_rows

_kept = threading.local()


class Weight4(Structure):
    """``weight4`` of csrc/trimtab.h."""

    _fields_ = (
        ("codes", _P),
        ("absmax", _P),
        ("table", _P),
        ("nested_absmax", _P),
        ("nested_offset", _P),
        ("nested_table", _P),
        ("rows", _N),
        ("cols", _N),
        ("block", _N),
    )


class Weight8(Structure):
    """``weight8`` of csrc/kernels.h."""

    _fields_ = (("codes", _P), ("absmax", _P), ("rows", _N), ("cols", _N), ("step", c_float))


class Product(Structure):
    """``product_job`` of csrc/kernels.h."""

    _fields_ = (
        ("w", _P),
        ("x", _P),
        ("count", _N),
        ("bias", _P),
        ("low", _P),
        ("factor", _P),
        ("rank", _N),
        ("scale", c_float),
        ("turned", _I),
        ("y", _P),
    )


@cache
def level() -> int:
    """Give the instruction set that the library uses here: 0 plain C, 1 AVX2, 2 AVX-512 with integer dot products."""
    found = library()
    return int(found.trimtab_cpu_level()) if found is not None else 0


def quantize_4bit(
    weight: Float[Tensor, "..."], table: Float32[Tensor, "16"], block_size: int
) -> tuple[UInt8[Tensor, " bytes"], Float32[Tensor, " blocks"]]:
    """Give the bits of ``reference.quantize_4bit``."""
    weight = weight.contiguous()
    count = weight.numel()
    bounds, order = reference.thresholds(table)
    codes = torch.empty((count + 1) // 2, dtype=torch.uint8)
    absmax = torch.empty(blocks_of(count, block_size), dtype=torch.float32)
    function(*_QUANTIZE_4BIT)(
        weight.data_ptr(),
        DTYPE_CODES[weight.dtype],
        count,
        block_size,
        bounds.data_ptr(),
        order.data_ptr(),
        codes.data_ptr(),
        absmax.data_ptr(),
        level(),
        torch.get_num_threads(),
    )
    return codes, absmax


def dequantize_4bit(packed: Packed4bit, dtype: torch.dtype, out: Tensor | None = None) -> Float[Tensor, "rows cols"]:
    """Give the bits of ``reference.dequantize_4bit``."""
    dense = torch.empty(packed.shape, dtype=dtype) if out is None else out
    _decode(weight4(packed), 0, 0, dense)
    return dense


def quantize_8bit(
    values: Float[Tensor, "*shape"], table: Float32[Tensor, "256"], block_size: int, grid: bool
) -> tuple[UInt8[Tensor, "*shape"], Float32[Tensor, " blocks"]]:
    """Give the bits of ``reference.quantize_8bit``."""
    values = values.float().contiguous()
    bounds = (table[:-1] + table[1:]) / 2
    codes = torch.empty(values.shape, dtype=torch.uint8)
    absmax = torch.empty(blocks_of(values.numel(), block_size), dtype=torch.float32)
    function(*_QUANTIZE_8BIT)(
        values.data_ptr(),
        values.numel(),
        block_size,
        bounds.data_ptr(),
        grid,
        codes.data_ptr(),
        absmax.data_ptr(),
        torch.get_num_threads(),
    )
    return codes, absmax


def dequantize_8bit(
    codes: UInt8[Tensor, "*shape"], absmax: Float32[Tensor, " blocks"], table: Float32[Tensor, "256"], block_size: int
) -> Float32[Tensor, "*shape"]:
    """Give the bits of ``reference.dequantize_8bit``."""
    values = torch.empty(codes.shape, dtype=torch.float32)
    function(*_DEQUANTIZE_8BIT)(
        codes.data_ptr(),
        codes.numel(),
        block_size,
        absmax.data_ptr(),
        table.data_ptr(),
        values.data_ptr(),
        torch.get_num_threads(),
    )
    return values


def dequantize_rows(codes: Int8[Tensor, "rows cols"], absmax: Float32[Tensor, " rows"]) -> Float32[Tensor, "rows cols"]:
    """Give the bits of ``reference.dequantize_rows``."""
    dense = torch.empty(codes.shape, dtype=torch.float32)
    _decode_rows(_weight8(codes, absmax), 0, 0, dense)
    return dense


def linear_4bit(
    x: Float[Tensor, "*batch cols"], packed: Packed4bit, bias: Float[Tensor, " rows"] | None, exact: bool
) -> Float[Tensor, "*batch rows"]:
    """Multiply by the weight's transpose, in integers for a single row unless ``exact``, else in float32."""
    rows, cols = packed.shape
    count = _rows_of(x, cols)
    if not 0 < count <= FEW_ROWS or cols % GROUP:
        if lacks_product(x, packed):
            return _tiled_linear(x, _decoder_4bit(packed), packed.shape, bias)
        return product(x, packed, bias, turned=True)
    x32, y, bias32 = _operands(x, rows, bias)
    done = function(*_LINEAR_4BIT)(
        byref(weight4(packed)),
        x32.data_ptr(),
        count,
        None if bias32 is None else bias32.data_ptr(),
        y.data_ptr(),
        exact,
        level(),
        torch.get_num_threads(),
    )
    return _finished(done, y, x.dtype)


def linear_4bit_input_grad(grad: Float[Tensor, "*batch rows"], packed: Packed4bit) -> Float[Tensor, "*batch cols"]:
    """Multiply by the weight, one tile of it at a time."""
    if lacks_product(grad, packed):
        return _tiled_input_grad(grad, _decoder_4bit(packed), packed.shape)
    return product(grad, packed, None, turned=False)


def lacks_product(x: Tensor, packed: Packed4bit) -> bool:
    """Tell whether ``product`` cannot be used: no vector instructions, or nothing to multiply."""
    return level() == PORTABLE or not x.numel() or not packed.shape[0] * packed.shape[1]


Beside: TypeAlias = tuple[Tensor, Tensor, float]
"""A low-rank product to add: its narrow image (rows, rank), a factor, and a scale."""


def product(
    x: Tensor, packed: Packed4bit, bias: Tensor | None, *, turned: bool, beside: Beside | None = None
) -> Tensor:
    """Multiply many rows by the weight, or, ``turned``, by its transpose, and add what stands beside."""
    rows, cols = packed.shape
    depth, wide = (cols, rows) if turned else (rows, cols)
    x32, y, bias32 = _operands(x, wide, bias)
    low, factor, scale = beside or (None, None, 0.0)
    job = Product(
        addressof(weight4(packed)),
        x32.data_ptr(),
        _rows_of(x, depth),
        None if bias32 is None else bias32.data_ptr(),
        None if low is None else low.data_ptr(),
        None if factor is None else factor.data_ptr(),
        0 if low is None else low.shape[-1],
        scale,
        turned,
        y.data_ptr(),
    )
    done = function(*_PRODUCT_4BIT)(byref(job), level(), torch.get_num_threads())
    return _finished(done, y, x.dtype)


def linear_8bit(
    x: Float[Tensor, "*batch cols"],
    codes: Int8[Tensor, "rows cols"],
    absmax: Float32[Tensor, " rows"],
    bias: Float[Tensor, " rows"] | None,
) -> Float[Tensor, "*batch rows"]:
    """Multiply by the weight's transpose in float32."""
    rows, cols = codes.shape
    count = _rows_of(x, cols)
    if not 0 < count <= FEW_ROWS or cols % GROUP:
        return _tiled_linear(x, _decoder_8bit(codes, absmax), (rows, cols), bias)
    x32, y, bias32 = _operands(x, rows, bias)
    done = function(*_LINEAR_8BIT)(
        byref(_weight8(codes, absmax)),
        x32.data_ptr(),
        count,
        None if bias32 is None else bias32.data_ptr(),
        y.data_ptr(),
        level(),
        torch.get_num_threads(),
    )
    return _finished(done, y, x.dtype)


def linear_8bit_input_grad(
    grad: Float[Tensor, "*batch rows"], codes: Int8[Tensor, "rows cols"], absmax: Float32[Tensor, " rows"]
) -> Float[Tensor, "*batch cols"]:
    """Multiply by the weight, one tile of it at a time."""
    rows, cols = codes.shape
    return _tiled_input_grad(grad, _decoder_8bit(codes, absmax), (rows, cols))


def weight4(packed: Packed4bit) -> Weight4:
    """Give the weight as C takes it, made once for as long as its tensors stay what and where they are."""
    checked = checks.recall(packed)
    if checked.native is None:
        rows, cols = packed.shape
        pointers = (*checked.pointers, None, None, None)[:6]
        checked.native = Weight4(*pointers, rows, cols, packed.block_size)
    weight: Any = checked.native
    return weight  # type: ignore[no-any-return]


def _weight8(codes: Tensor, absmax: Tensor) -> Weight8:
    return Weight8(codes.data_ptr(), absmax.data_ptr(), codes.shape[0], codes.shape[1], reference.INT8_STEP)


def _rows_of(x: Tensor, cols: int) -> int:
    return x.numel() // cols if cols else 0


def _operands(x: Tensor, rows: int, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Give input, room for the result and bias, all contiguous float32."""
    x32 = _plain(x)
    return x32, x32.new_empty((*x.shape[:-1], rows)), None if bias is None else _plain(bias)


def _plain(x: Tensor) -> Tensor:
    x = x if x.dtype is torch.float32 else x.float()
    return x if x.is_contiguous() else x.contiguous()


def _finished(done: int, y: Tensor, dtype: torch.dtype) -> Tensor:
    if not done:
        raise ResourceError("no memory for the kernel's scratch space. Close other programs, or use a smaller batch.")
    return y if dtype is torch.float32 else y.to(dtype)


def _buffer(count: int) -> Tensor:
    """Give this thread's float32 buffer; what it held before is lost."""
    kept: Tensor | None = getattr(_kept, "buffer", None)
    if kept is None or kept.numel() < count:
        kept = _kept.buffer = torch.empty(count, dtype=torch.float32)
    return kept[:count]


Decode: TypeAlias = Callable[[int, int, Tensor], None]
"""Fills a dense tile (rows, cols) from a row and a column of the weight on."""


def _decoder_4bit(packed: Packed4bit) -> Decode:
    return partial(_decode, weight4(packed))


def _decoder_8bit(codes: Tensor, absmax: Tensor) -> Decode:
    return partial(_decode_rows, _weight8(codes, absmax))


def _ranges(size: int, other: int, unit: int) -> Iterator[tuple[int, int]]:
    """Cut one dimension of a matrix into even runs, multiples of ``unit``, each of at most about ``TILE`` weights."""
    parts = max(1, -(-size * other // TILE))
    each = max(1, -(-size // (parts * unit))) * unit
    for first in range(0, size, each):
        yield first, min(each, size - first)


def _decode(weight: Weight4, row: int, col: int, dense: Tensor) -> None:
    function(*_DEQUANTIZE_4BIT)(
        byref(weight),
        row,
        dense.shape[0],
        col,
        dense.shape[1],
        dense.data_ptr(),
        DTYPE_CODES[dense.dtype],
        level(),
        torch.get_num_threads(),
    )


def _decode_rows(weight: Weight8, row: int, col: int, dense: Tensor) -> None:
    where = row, dense.shape[0], col, dense.shape[1], dense.data_ptr()
    function(*_DEQUANTIZE_ROWS)(byref(weight), *where, level(), torch.get_num_threads())


def _tiled_linear(x: Tensor, decode: Decode, shape: tuple[int, int], bias: Tensor | None) -> Tensor:
    """Multiply by the transpose, some rows of the weight at a time."""
    rows, cols = shape
    x32 = x.reshape(x.shape[:-1].numel(), cols).float()
    y = torch.empty((x32.shape[0], rows), dtype=torch.float32)
    for first, count in _ranges(rows, cols, 1):
        dense = _buffer(count * cols).view(count, cols)
        decode(first, 0, dense)
        torch.mm(x32, dense.t(), out=y[:, first : first + count])
    if bias is not None:
        y += bias.float()
    return y.to(x.dtype).view(*x.shape[:-1], rows)


def _tiled_input_grad(grad: Tensor, decode: Decode, shape: tuple[int, int]) -> Tensor:
    """Multiply by the weight, some of its columns at a time, so that nothing is added up between tiles."""
    rows, cols = shape
    grad32 = grad.reshape(grad.shape[:-1].numel(), rows).float()
    dx = torch.empty((grad32.shape[0], cols), dtype=torch.float32)
    for first, count in _ranges(cols, rows, GROUP):
        dense = _buffer(rows * count).view(rows, count)
        decode(0, first, dense)
        torch.mm(grad32, dense, out=dx[:, first : first + count])
    return dx.to(grad.dtype).view(*grad.shape[:-1], cols)
