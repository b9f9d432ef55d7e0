"""Quantize and dequantize in 8 bits: blocks with a table of 256 entries, and rows of even steps."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32, Int8, UInt8
from torch import Tensor

from trimtab.kernels import checks
from trimtab.kernels.choose import backend
from trimtab.kernels.packed import blocks_of
from trimtab.kernels.registry import register, takes_short_path


def quantize_8bit(
    values: Float[Tensor, "*shape"],
    table: Float32[Tensor, "256"],
    *,
    block_size: int,
    grid: bool = False,
    impl: str = "auto",
) -> tuple[UInt8[Tensor, "*shape"], Float32[Tensor, " blocks"]]:
    """Round each value to the nearest entry of a table, scaled by its block's largest magnitude.

    Args:
        values: any shape, N finite values; blocks run along it flattened row-major.
        table: 256 entries in rising order, within [-1, 1].
        block_size: values per scale.
        grid: round the scaled value to one of 65536 even steps first. The scales of published double-quantized
            checkpoints are made so; it blurs entries near zero, so leave it off for optimizer states.
        impl: "auto", or one implementation by name.

    Returns:
        Codes in the shape of ``values``, and scales (ceil(N/block_size),).

    Raises:
        RangeError: a dtype, size or implementation is not allowed.

    Source: arXiv:2110.02861, section 2.1.
    """
    values = values.detach()
    call = _quantize_8bit if takes_short_path(values) else _quantize_8bit_op
    codes, absmax = call(values, table, block_size, grid, impl)
    return codes, absmax


def dequantize_8bit(
    codes: UInt8[Tensor, "*shape"],
    absmax: Float32[Tensor, " blocks"],
    table: Float32[Tensor, "256"],
    *,
    block_size: int,
    impl: str = "auto",
) -> Float32[Tensor, "*shape"]:
    """Give each code's entry times its block's scale.

    Raises:
        RangeError: the tensors do not fit each other, or an implementation is not allowed.
    """
    call = _dequantize_8bit if takes_short_path(codes) else _dequantize_8bit_op
    values: Tensor = call(codes, absmax, table, block_size, impl)
    return values


def quantize_rows(
    weight: Float[Tensor, "rows cols"], *, impl: str = "auto"
) -> tuple[Int8[Tensor, "rows cols"], Float32[Tensor, " rows"]]:
    """Round each row to 255 even steps, scaled by its own largest magnitude; half-way goes to the even step.

    Raises:
        RangeError: a dtype or implementation is not allowed.

    Source: arXiv:2208.07339, section 3 (without outliers, which belong to activations).
    """
    weight = weight.detach()
    call = _quantize_rows if takes_short_path(weight) else _quantize_rows_op
    codes, absmax = call(weight, impl)
    return codes, absmax


def dequantize_rows(
    codes: Int8[Tensor, "rows cols"], absmax: Float32[Tensor, " rows"], *, impl: str = "auto"
) -> Float32[Tensor, "rows cols"]:
    """Give each code times its row's scale over 127.

    Raises:
        RangeError: the tensors do not fit each other, or an implementation is not allowed.
    """
    call = _dequantize_rows if takes_short_path(codes) else _dequantize_rows_op
    weight: Tensor = call(codes, absmax, impl)
    return weight


def _quantize_8bit(values: Tensor, table: Tensor, block_size: int, grid: bool, impl: str) -> tuple[Tensor, Tensor]:
    checks.floats("values", values)
    checks.block_size_8bit(block_size)
    checks.plain("table", table, torch.float32, 256)
    checks.same_device(values.device, table=table)
    codes, absmax = backend(values.device.type, impl).quantize_8bit(values, table, block_size, grid)
    return codes, absmax


def _quantize_8bit_fake(values: Tensor, table: Tensor, block_size: int, grid: bool, impl: str) -> tuple[Tensor, Tensor]:
    codes = values.new_empty(values.shape, dtype=torch.uint8)
    return codes, values.new_empty(blocks_of(values.numel(), block_size), dtype=torch.float32)


def _dequantize_8bit(codes: Tensor, absmax: Tensor, table: Tensor, block_size: int, impl: str) -> Tensor:
    checks.block_size_8bit(block_size)
    checks.plain("codes", codes, torch.uint8, codes.numel())
    checks.plain("absmax", absmax, torch.float32, blocks_of(codes.numel(), block_size))
    checks.plain("table", table, torch.float32, 256)
    checks.same_device(codes.device, absmax=absmax, table=table)
    values: Tensor = backend(codes.device.type, impl).dequantize_8bit(codes, absmax, table, block_size)
    return values


def _dequantize_8bit_fake(codes: Tensor, absmax: Tensor, table: Tensor, block_size: int, impl: str) -> Tensor:
    return codes.new_empty(codes.shape, dtype=torch.float32)


def _quantize_rows(weight: Tensor, impl: str) -> tuple[Tensor, Tensor]:
    checks.floats("weight", weight)
    checks.matrix("weight", weight)
    codes, absmax = backend(weight.device.type, impl).quantize_rows(weight)
    return codes, absmax


def _quantize_rows_fake(weight: Tensor, impl: str) -> tuple[Tensor, Tensor]:
    return weight.new_empty(weight.shape, dtype=torch.int8), weight.new_empty(weight.shape[0], dtype=torch.float32)


def _dequantize_rows(codes: Tensor, absmax: Tensor, impl: str) -> Tensor:
    checks.rows_8bit(codes, absmax)
    weight: Tensor = backend(codes.device.type, impl).dequantize_rows(codes, absmax)
    return weight


def _dequantize_rows_fake(codes: Tensor, absmax: Tensor, impl: str) -> Tensor:
    return codes.new_empty(codes.shape, dtype=torch.float32)


_quantize_8bit_op = register(
    "quantize_8bit(Tensor values, Tensor table, int block_size, bool grid, str impl) -> (Tensor, Tensor)",
    _quantize_8bit,
    _quantize_8bit_fake,
)
_dequantize_8bit_op = register(
    "dequantize_8bit(Tensor codes, Tensor absmax, Tensor table, int block_size, str impl) -> Tensor",
    _dequantize_8bit,
    _dequantize_8bit_fake,
)
_quantize_rows_op = register(
    "quantize_rows(Tensor weight, str impl) -> (Tensor, Tensor)", _quantize_rows, _quantize_rows_fake
)
_dequantize_rows_op = register(
    "dequantize_rows(Tensor codes, Tensor absmax, str impl) -> Tensor", _dequantize_rows, _dequantize_rows_fake
)
