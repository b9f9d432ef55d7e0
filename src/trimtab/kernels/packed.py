"""The tensors that together are one weight matrix in 4 bits, as the kernels take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

NESTED_BLOCK = 256
"""Scales per nested scale under double quantization (arXiv:2305.14314, section 3)."""

BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Weights per scale that the codecs take."""


class Packed4bit(NamedTuple):
    """A quantized matrix: borrowed tensors and the two facts needed to read them.

    Attributes:
        codes: uint8 (ceil(rows * cols / 2),), two codes a byte, the first of a pair in the high nibble.
        absmax: one scale a block, row-major over the flattened matrix: float32 (blocks,); or, under double
            quantization, uint8 (blocks,) codes into ``nested_table``.
        table: float32 (16,), the level of each code.
        shape: rows (outputs) and cols (inputs).
        block_size: weights per scale.
        nested_absmax: float32 (ceil(blocks / 256),), or None without double quantization.
        nested_offset: float32 (), the mean that was subtracted from the scales.
        nested_table: float32 (256,), the dynamic 8-bit map.
    """

    codes: Tensor
    absmax: Tensor
    table: Tensor
    shape: tuple[int, int]
    block_size: int
    nested_absmax: Tensor | None = None
    nested_offset: Tensor | None = None
    nested_table: Tensor | None = None

    def spread(self) -> tuple[object, ...]:
        """Lay the parts out in the order of ``SCHEMA``."""
        codes, absmax, table, shape, block_size, *nested = self
        return (codes, absmax, table, *nested, list(shape), block_size)


SCHEMA = (
    "Tensor codes, Tensor absmax, Tensor table, "
    "Tensor? nested_absmax, Tensor? nested_offset, Tensor? nested_table, int[] shape, int block_size"
)
"""A packed weight among an operator's arguments, in torch.library's notation."""

PARTS = 8
"""Arguments that ``SCHEMA`` names."""


def gather(parts: tuple[Any, ...]) -> Packed4bit:
    """Undo ``Packed4bit.spread``."""
    codes, absmax, table, nested_absmax, nested_offset, nested_table, (rows, cols), block_size = parts
    return Packed4bit(codes, absmax, table, (rows, cols), block_size, nested_absmax, nested_offset, nested_table)


def blocks_of(count: int | torch.SymInt, block_size: int) -> Any:
    """Give the number of blocks that ``count`` values fill, the last one perhaps short; symbolic like the count."""
    return -(-count // block_size)


FLOATS = (torch.float32, torch.float16, torch.bfloat16)
"""Dtypes of dense weights and activations that the kernels read and write."""
