"""Decoding and encoding of the block formats inside GGUF files.

Each format stores blocks of consecutive elements of a row; layouts are little-endian and packed.

Source: ggml-org/ggml, the block structures of ggml-common.h (facts of layout only).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trimtab.core.errors import RangeError

CHUNK_BLOCKS: Final = 16_384  # decoded at a time, so that what lies between codes and result stays in the cache

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class GgmlType(IntEnum):
    """The element types that can be read; the numbers are the file format's."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q4_K = 12
    Q6_K = 14
    BF16 = 30


class Block(NamedTuple):
    """How many elements one block holds, in how many bytes."""

    elements: int
    nbytes: int


BLOCKS: Final[Mapping[GgmlType, Block]] = MappingProxyType(
    {
        GgmlType.F32: Block(1, 4),
        GgmlType.F16: Block(1, 2),
        GgmlType.BF16: Block(1, 2),
        GgmlType.Q4_0: Block(32, 2 + 16),
        GgmlType.Q4_1: Block(32, 2 + 2 + 16),
        GgmlType.Q5_0: Block(32, 2 + 4 + 16),
        GgmlType.Q5_1: Block(32, 2 + 2 + 4 + 16),
        GgmlType.Q8_0: Block(32, 2 + 32),
        GgmlType.Q4_K: Block(256, 2 + 2 + 12 + 128),
        GgmlType.Q6_K: Block(256, 128 + 64 + 16 + 2),
    }
)


def decode(data: Bytes, kind: GgmlType, shape: tuple[int, ...]) -> Floats:
    """Make a tensor dense.

    Args:
        data: its bytes, (nbytes,).
        kind: how they are coded.
        shape: outermost first.

    Returns:
        Elements in float32, ``shape``.
    """
    blocks = data.reshape(-1, BLOCKS[kind].nbytes)
    dense = np.empty((blocks.shape[0], BLOCKS[kind].elements), dtype=np.float32)
    for begin in range(0, blocks.shape[0], CHUNK_BLOCKS):
        chunk = slice(begin, begin + CHUNK_BLOCKS)
        dense[chunk] = _DECODERS[kind](blocks[chunk]).reshape(-1, BLOCKS[kind].elements)
    return dense.reshape(shape)


def encode(values: Floats, kind: GgmlType) -> Bytes:
    """Code a tensor, whose last dimension must divide into blocks, as F32, F16 or Q8_0.

    Returns:
        The bytes, (nbytes,) uint8.

    Raises:
        RangeError: the type cannot be written, or the shape does not divide.
    """
    if kind not in _ENCODERS:
        raise RangeError(f"{kind.name} cannot be written. Allowed: {', '.join(k.name for k in _ENCODERS)}.")
    if values.shape[-1] % BLOCKS[kind].elements:
        raise RangeError(
            f"rows of {values.shape[-1]} do not divide into {kind.name} blocks of {BLOCKS[kind].elements}."
        )
    return _ENCODERS[kind](np.ascontiguousarray(values, dtype=np.float32))


def _half(raw: Bytes) -> Floats:
    """Read two bytes a block as float16, (blocks, 1)."""
    return np.ascontiguousarray(raw).view(np.float16).astype(np.float32)


def _nibbles(raw: Bytes) -> NDArray[np.uint8]:
    """Split bytes into codes: all low nibbles, then all high ones, (blocks, 2 * bytes)."""
    return np.concatenate([raw & 0x0F, raw >> 4], axis=1)


def _fifth_bits(raw: Bytes) -> NDArray[np.uint8]:
    """Spread 32 bits into the place of the fifth bit of each code, (blocks, 32)."""
    return np.unpackbits(raw, axis=1, bitorder="little") << np.uint8(4)


def _q4_0(blocks: Bytes) -> Floats:
    return _half(blocks[:, :2]) * (_nibbles(blocks[:, 2:]).astype(np.float32) - 8.0)


def _q4_1(blocks: Bytes) -> Floats:
    return _half(blocks[:, :2]) * _nibbles(blocks[:, 4:]).astype(np.float32) + _half(blocks[:, 2:4])


def _q5_0(blocks: Bytes) -> Floats:
    codes = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])
    return _half(blocks[:, :2]) * (codes.astype(np.float32) - 16.0)


def _q5_1(blocks: Bytes) -> Floats:
    codes = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])
    return _half(blocks[:, :2]) * codes.astype(np.float32) + _half(blocks[:, 2:4])


def _q8_0(blocks: Bytes) -> Floats:
    return _half(blocks[:, :2]) * np.ascontiguousarray(blocks[:, 2:]).view(np.int8).astype(np.float32)


def _q4_k(blocks: Bytes) -> Floats:
    """Eight sub-blocks of 32 with 6-bit scales and minima, packed into 12 bytes."""
    scale, least = _half(blocks[:, :2]), _half(blocks[:, 2:4])
    packed = blocks[:, 4:16]
    low, mid, high = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 6) << 4)], axis=1)  # (blocks, 8)
    minima = np.concatenate([mid & 63, (high >> 4) | ((mid >> 6) << 4)], axis=1)
    pairs = blocks[:, 16:].reshape(-1, 4, 32)
    codes = np.stack([pairs & 15, pairs >> 4], axis=2).reshape(-1, 8, 32).astype(np.float32)
    dense: Floats = (scale * scales)[:, :, None] * codes - (least * minima)[:, :, None]
    return dense


def _q6_k(blocks: Bytes) -> Floats:
    """Sixteen sub-blocks of 16 with signed 8-bit scales; codes in 4 low and 2 high bits."""
    low, high = blocks[:, :128].reshape(-1, 2, 2, 32), blocks[:, 128:192].reshape(-1, 2, 1, 32)
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    nibbles = np.concatenate([low & 15, low >> 4], axis=2)  # (blocks, 2, 4, 32)
    tops = (high >> np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)) & 3
    codes = (nibbles | (tops << 4)).astype(np.float32).reshape(-1, 16, 16) - 32.0
    dense: Floats = (_half(blocks[:, 208:]) * scales)[:, :, None] * codes
    return dense


def _encode_q8_0(values: Floats) -> Bytes:
    """Scale each 32 by their largest magnitude over 127, rounding halves away from zero."""
    rows = values.reshape(-1, BLOCKS[GgmlType.Q8_0].elements)
    scale = np.abs(rows).max(axis=1, keepdims=True) / np.float32(127.0)
    inverse = np.divide(np.float32(1.0), scale, out=np.zeros_like(scale), where=scale > 0)
    scaled = rows * inverse
    codes = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    return np.concatenate([scale.astype(np.float16).view(np.uint8), codes.view(np.uint8)], axis=1).reshape(-1)


_DECODERS: Final[Mapping[GgmlType, Callable[[Bytes], Floats]]] = MappingProxyType(
    {
        GgmlType.F32: lambda blocks: blocks.view(np.float32),
        GgmlType.F16: lambda blocks: blocks.view(np.float16).astype(np.float32),
        GgmlType.BF16: lambda blocks: (blocks.view(np.uint16).astype(np.uint32) << 16).view(np.float32),
        GgmlType.Q4_0: _q4_0,
        GgmlType.Q4_1: _q4_1,
        GgmlType.Q5_0: _q5_0,
        GgmlType.Q5_1: _q5_1,
        GgmlType.Q8_0: _q8_0,
        GgmlType.Q4_K: _q4_k,
        GgmlType.Q6_K: _q6_k,
    }
)

_ENCODERS: Final[Mapping[GgmlType, Callable[[Floats], Bytes]]] = MappingProxyType(
    {
        GgmlType.F32: lambda values: values.reshape(-1).view(np.uint8),
        GgmlType.F16: lambda values: values.astype(np.float16).reshape(-1).view(np.uint8),
        GgmlType.Q8_0: _encode_q8_0,
    }
)
