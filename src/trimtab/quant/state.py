"""A quantized weight: an immutable value, and the one way to make it dense."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Float32, Int8, UInt8
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.kernels import ops
from trimtab.quant.codebooks import Kind, dynamic_map, levels


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """Codes and scales of one weight.

    Attributes:
        codes: 4-bit kinds: (ceil(N/2),) uint8, the first of a pair in the high nibble. int8: (rows, cols) int8.
        absmax: 4-bit kinds: a scale a block, float32, or uint8 under double quantization. int8: float32 (rows,).
        shape: of the original weight, N elements.
        dtype: of the original weight.
        kind: what the codes mean.
        block_size: weights per scale; for int8 the length of a row.
        nested_absmax: a scale for each 256 of ``absmax``, or None without double quantization.
        nested_offset: the mean that was subtracted from the scales, or None.
    """

    codes: UInt8[Tensor, " bytes"] | Int8[Tensor, "rows cols"]
    absmax: Float32[Tensor, " scales"] | UInt8[Tensor, " scales"]
    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: Kind
    block_size: int
    nested_absmax: Float32[Tensor, " nested"] | None = None
    nested_offset: Float32[Tensor, ""] | None = None

    @property
    def double(self) -> bool:
        """Whether the scales are themselves quantized."""
        return self.nested_absmax is not None

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales together."""
        tensors = (self.codes, self.absmax, self.nested_absmax, self.nested_offset)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    @property
    def rows_and_cols(self) -> tuple[int, int]:
        """The shape as a matrix: all leading dimensions together, and the last one."""
        if not self.shape:
            return (1, 1)
        cols = self.shape[-1]
        rows = 1
        for size in self.shape[:-1]:
            rows *= size
        return rows, cols

    def packed(self) -> ops.Packed4bit:
        """Give the weight as the 4-bit kernels take it; nothing is copied but, on a GPU, the small tables.

        Raises:
            RangeError: the weight is int8.
        """
        if self.kind == "int8":
            raise RangeError("kind='int8' is not packed in 4 bits. Use ops.linear_8bit with codes and absmax.")
        device = self.codes.device
        nested_table = dynamic_map(signed=True).to(device) if self.double else None
        return ops.Packed4bit(
            self.codes,
            self.absmax,
            levels(self.kind).to(device),
            self.rows_and_cols,
            self.block_size,
            self.nested_absmax,
            self.nested_offset,
            nested_table,
        )

    def dense(self, dtype: torch.dtype | None = None) -> Float[Tensor, "..."]:
        """Give the weight in its original shape.

        Args:
            dtype: of the result; that of the original weight where None.

        Raises:
            RangeError: codes, scales and shape do not fit each other.
        """
        dtype = dtype or self.dtype
        if self.kind == "int8":
            return ops.dequantize_rows(self.codes, self.absmax).to(dtype).view(self.shape)
        return ops.dequantize_4bit(self.packed(), dtype=dtype).view(self.shape)

    def to(self, *args: Any, **kwargs: Any) -> QuantizedWeight:
        """Give the same weight on another device; takes what ``Tensor.to`` takes, without a dtype."""
        moved = {
            name: tensor.to(*args, **kwargs)
            for name in ("codes", "absmax", "nested_absmax", "nested_offset")
            if (tensor := getattr(self, name)) is not None
        }
        return replace(self, **moved)
