"""Quantize and dequantize in blocks of 4-bit codes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from trimtab.kernels import checks
from trimtab.kernels.choose import backend
from trimtab.kernels.packed import SCHEMA, Packed4bit, blocks_of, gather
from trimtab.kernels.registry import register, takes_short_path


def quantize_4bit(
    weight: Float[Tensor, "..."], table: Float32[Tensor, "16"], *, block_size: int, impl: str = "auto"
) -> tuple[UInt8[Tensor, " bytes"], Float32[Tensor, " blocks"]]:
    """Round each weight to the nearest level of its block; a tie goes to the lower level.

    Args:
        weight: any shape, N finite values, float32, float16 or bfloat16; blocks run along it flattened row-major.
        table: the 16 levels in code order, within [-1, 1].
        block_size: weights per scale; a power of two from 32 to 4096.
        impl: "auto", or one implementation by name.

    Returns:
        Codes (ceil(N/2),), the first of a pair in the high nibble, and scales (ceil(N/block_size),).

    Raises:
        RangeError: a dtype, size or implementation is not allowed.

    Source: arXiv:2305.14314, section 3 and appendix E.
    """
    weight = weight.detach()
    call = _quantize_4bit if takes_short_path(weight) else _quantize_4bit_op
    codes, absmax = call(weight, table, block_size, impl)
    return codes, absmax


def dequantize_4bit(
    packed: Packed4bit, *, dtype: torch.dtype = torch.float32, out: Tensor | None = None, impl: str = "auto"
) -> Float[Tensor, "rows cols"]:
    """Give the dense matrix: level times scale in float32, then rounded to ``dtype``.

    Args:
        out: contiguous room of the right shape and dtype to write to. A large matrix costs more in fresh memory
            pages than in arithmetic, so keep one where many are made dense in turn.

    Raises:
        RangeError: the tensors do not fit the shape, or a dtype, size or implementation is not allowed.
    """
    if not takes_short_path(packed.codes, out):
        dense: Tensor = _dequantize_4bit_op(*packed.spread(), dtype, impl)
        return dense if out is None else out.copy_(dense)
    _check_dequantize(packed, dtype, out)
    result: Tensor = backend(packed.codes.device.type, impl).dequantize_4bit(packed, dtype, out)
    return result


def _quantize_4bit(weight: Tensor, table: Tensor, block_size: int, impl: str) -> tuple[Tensor, Tensor]:
    checks.floats("weight", weight)
    checks.block_size_4bit(block_size)
    checks.plain("table", table, torch.float32, 16)
    checks.same_device(weight.device, table=table)
    codes, absmax = backend(weight.device.type, impl).quantize_4bit(weight, table, block_size)
    return codes, absmax


def _quantize_4bit_fake(weight: Tensor, table: Tensor, block_size: int, impl: str) -> tuple[Tensor, Tensor]:
    count = weight.numel()
    codes = weight.new_empty((count + 1) // 2, dtype=torch.uint8)
    return codes, weight.new_empty(blocks_of(count, block_size), dtype=torch.float32)


def _dequantize_4bit(*args: Any) -> Tensor:
    *parts, dtype, impl = args
    packed = gather(tuple(parts))
    _check_dequantize(packed, dtype, None)
    dense: Tensor = backend(packed.codes.device.type, impl).dequantize_4bit(packed, dtype)
    return dense


def _check_dequantize(packed: Packed4bit, dtype: torch.dtype, out: Tensor | None) -> None:
    checks.packed_4bit(packed)
    checks.dtype_out(dtype)
    if out is not None:
        checks.plain("out", out, dtype, packed.shape[0] * packed.shape[1])
        checks.same_device(packed.codes.device, out=out)


def _dequantize_4bit_fake(*args: Any) -> Tensor:
    *parts, dtype, _ = args
    packed = gather(tuple(parts))
    return packed.codes.new_empty(packed.shape, dtype=dtype)


_quantize_4bit_op = register(
    "quantize_4bit(Tensor weight, Tensor table, int block_size, str impl) -> (Tensor, Tensor)",
    _quantize_4bit,
    _quantize_4bit_fake,
)
_dequantize_4bit_op = register(
    f"dequantize_4bit({SCHEMA}, ScalarType dtype, str impl) -> Tensor", _dequantize_4bit, _dequantize_4bit_fake
)
