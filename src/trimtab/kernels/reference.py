"""The kernels in plain PyTorch: slow, short, and the specification of every other implementation.

Rounding follows the CPU path of published checkpoints to the bit, its oddities included; each is named where it
happens.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32, Int8, UInt8
from torch import Tensor
from torch.nn.functional import linear, pad

from trimtab.kernels.packed import NESTED_BLOCK, Packed4bit, blocks_of

SMALLEST_SCALE = 1e-38
"""Scales are held at or above this before they divide, so that an all-zero block stays zero."""

GRID_STEPS = 65535
"""Steps of the uniform grid over [-1, 1] that 8-bit rounding may snap to first."""

INT8_STEP = 7.874015718698502e-3
"""1/127, with the digits that the row-wise 8-bit format multiplies by."""


def thresholds(table: Float32[Tensor, " levels"]) -> tuple[Float32[Tensor, " bounds"], Tensor]:
    """Give the midpoints between neighbouring levels, and the code of each level in rising order."""
    order = torch.argsort(table, stable=True)
    rising = table[order]
    return (rising[:-1] + rising[1:]) / 2, order.to(torch.uint8)


def in_blocks(values: Float[Tensor, "..."], block_size: int) -> Float32[Tensor, "blocks block"]:
    """Flatten to float32 rows of one block each, the last one filled up with zeros."""
    flat = values.reshape(-1).float()
    return pad(flat, (0, -flat.numel() % block_size)).view(-1, block_size)


def quantize_4bit(
    weight: Float[Tensor, "..."], table: Float32[Tensor, "16"], block_size: int
) -> tuple[UInt8[Tensor, " bytes"], Float32[Tensor, " blocks"]]:
    """Round to the nearest level of each block; a tie goes to the lower level.

    A full block is multiplied by the reciprocal of its scale; a short last block is divided by it, and its stored
    scale is never below ``SMALLEST_SCALE``.
    """
    count = weight.numel()
    blocks = in_blocks(weight, block_size)
    absmax = blocks.abs().amax(dim=1) if count else blocks.new_zeros(0)
    scaled = blocks * (1.0 / absmax.clamp(min=SMALLEST_SCALE)).unsqueeze(1)
    if count % block_size:
        absmax[-1].clamp_(min=SMALLEST_SCALE)
        scaled[-1] = blocks[-1] / absmax[-1]
    bounds, order = thresholds(table)
    codes = order[torch.bucketize(scaled.clamp(-1, 1).view(-1)[: count + count % 2], bounds)]
    return (codes[0::2] << 4) | codes[1::2], absmax


def scales_of(packed: Packed4bit) -> Float32[Tensor, " blocks"]:
    """Give one float32 scale a block, undoing double quantization where it was used."""
    if packed.nested_absmax is None:
        return packed.absmax
    assert packed.nested_table is not None
    assert packed.nested_offset is not None
    return (
        dequantize_8bit(packed.absmax, packed.nested_absmax, packed.nested_table, NESTED_BLOCK) + packed.nested_offset
    )


def dequantize_4bit(packed: Packed4bit, dtype: torch.dtype, out: Tensor | None = None) -> Float[Tensor, "rows cols"]:
    """Multiply each code's level by its block's scale in float32, then round to ``dtype``."""
    rows, cols = packed.shape
    count, block_size = rows * cols, packed.block_size
    codes = torch.stack((packed.codes.view(-1) >> 4, packed.codes.view(-1) & 15), dim=1).view(-1)[:count]
    levels = in_blocks(packed.table[codes.int()], block_size)
    dense = (levels * scales_of(packed).unsqueeze(1)).view(-1)[:count].to(dtype).view(rows, cols)
    return dense if out is None else out.copy_(dense.view(out.shape))


def quantize_8bit(
    values: Float[Tensor, "*shape"], table: Float32[Tensor, "256"], block_size: int, grid: bool
) -> tuple[UInt8[Tensor, "*shape"], Float32[Tensor, " blocks"]]:
    """Round to the nearest entry of a rising 256-entry table, block by block; a tie goes to the lower entry.

    With ``grid`` the scaled value is first rounded to one of 65536 even steps over [-1, 1]. An all-zero block then
    gets code 0, whose product with its zero scale is zero all the same.
    """
    count = values.numel()
    blocks = in_blocks(values, block_size)
    absmax = blocks.abs().amax(dim=1) if count else blocks.new_zeros(0)
    divisor = absmax if grid else absmax.clamp(min=SMALLEST_SCALE)
    scaled = (blocks * (1.0 / divisor).unsqueeze(1)).clamp(-1, 1)
    if grid:
        step = ((scaled + 1.0) * 0.5 * GRID_STEPS + 0.5).nan_to_num(nan=0.0).int()
        scaled = step.float() / GRID_STEPS * 2.0 - 1.0
    bounds = (table[:-1] + table[1:]) / 2
    codes = torch.bucketize(scaled, bounds, out_int32=True).to(torch.uint8)
    return codes.view(-1)[:count].view(values.shape), absmax


def dequantize_8bit(
    codes: UInt8[Tensor, "*shape"], absmax: Float32[Tensor, " blocks"], table: Float32[Tensor, "256"], block_size: int
) -> Float32[Tensor, "*shape"]:
    """Multiply each code's entry by its block's scale."""
    count = codes.numel()
    blocks = in_blocks(table[codes.reshape(-1).int()], block_size)
    assert blocks.shape[0] == blocks_of(count, block_size)
    return (blocks * absmax.unsqueeze(1)).view(-1)[:count].view(codes.shape)


def quantize_rows(weight: Float[Tensor, "rows cols"]) -> tuple[Int8[Tensor, "rows cols"], Float32[Tensor, " rows"]]:
    """Round each row to 255 even steps, scaled by its own largest magnitude."""
    absmax = weight.abs().amax(dim=1).float() if weight.numel() else weight.new_zeros(weight.shape[0]).float()
    steps = 127.0 / absmax.unsqueeze(1)
    codes = torch.round(weight * steps.where(absmax.unsqueeze(1) > 0, 0.0))
    return codes.to(torch.int8), absmax


def dequantize_rows(codes: Int8[Tensor, "rows cols"], absmax: Float32[Tensor, " rows"]) -> Float32[Tensor, "rows cols"]:
    """Undo ``quantize_rows`` up to its rounding."""
    return codes.float() * absmax.unsqueeze(1) * INT8_STEP


def linear_4bit(
    x: Float[Tensor, "*batch cols"], packed: Packed4bit, bias: Float[Tensor, " rows"] | None, exact: bool = True
) -> Float[Tensor, "*batch rows"]:
    """Make the weight dense in float32 and multiply; the result has the dtype of ``x``. Always exact."""
    weight = dequantize_4bit(packed, torch.float32)
    return linear(x.float(), weight, None if bias is None else bias.float()).to(x.dtype)


def linear_4bit_input_grad(grad: Float[Tensor, "*batch rows"], packed: Packed4bit) -> Float[Tensor, "*batch cols"]:
    """Multiply by the dense weight's transpose."""
    return (grad.float() @ dequantize_4bit(packed, torch.float32)).to(grad.dtype)


def linear_8bit(
    x: Float[Tensor, "*batch cols"],
    codes: Int8[Tensor, "rows cols"],
    absmax: Float32[Tensor, " rows"],
    bias: Float[Tensor, " rows"] | None,
) -> Float[Tensor, "*batch rows"]:
    """Make the weight dense in float32 and multiply; the result has the dtype of ``x``."""
    weight = dequantize_rows(codes, absmax)
    return linear(x.float(), weight, None if bias is None else bias.float()).to(x.dtype)


def linear_8bit_input_grad(
    grad: Float[Tensor, "*batch rows"], codes: Int8[Tensor, "rows cols"], absmax: Float32[Tensor, " rows"]
) -> Float[Tensor, "*batch cols"]:
    """Multiply by the dense weight's transpose."""
    return (grad.float() @ dequantize_rows(codes, absmax)).to(grad.dtype)
