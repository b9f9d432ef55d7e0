"""Where each parameter's optimizer state lies: fixed-size pages, filled in the order of the step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.kernels.ops.optimizer import BLOCK_SIZE

ALIGNMENT = 8  # elements; 32-bit state of two parameters never shares a vector register
LONGEST_SEGMENT = 1 << 15  # elements; longer ones are cut so that threads share the work


@dataclass(frozen=True)
class Kind:
    """How state is stored: names of its parts, their types, and elements of the parameter per entry of each."""

    names: tuple[str, ...]
    dtypes: tuple[torch.dtype, ...]
    strides: tuple[int, ...]
    alignment: int

    @property
    def block_bytes(self) -> int:
        """Bytes that 256 elements take, all parts together."""
        pairs = zip(self.dtypes, self.strides, strict=True)
        return sum(BLOCK_SIZE // stride * dtype.itemsize for dtype, stride in pairs)

    def views(self, frame: Tensor) -> list[Tensor]:
        """Cut a page of bytes into its parts."""
        blocks = frame.numel() // self.block_bytes
        parts, at = [], 0
        for dtype, stride in zip(self.dtypes, self.strides, strict=True):
            size = blocks * (BLOCK_SIZE // stride) * dtype.itemsize
            parts.append(frame[at : at + size].view(dtype))
            at += size
        return parts


FULL = Kind(("exp_avg", "exp_avg_sq"), (torch.float32,) * 2, (1, 1), ALIGNMENT)
EIGHT_BIT = Kind(
    ("state1", "state2", "absmax1", "absmax2"),
    (torch.uint8, torch.uint8, torch.float32, torch.float32),
    (1, 1, BLOCK_SIZE, BLOCK_SIZE),
    BLOCK_SIZE,
)
MIN_8BIT_ELEMENTS = 4096


def kind_of(bits: int, elements: int) -> Kind:
    """Choose how the state of a parameter is stored: in 8 bits only where it is large enough."""
    return EIGHT_BIT if bits == 8 and elements >= MIN_8BIT_ELEMENTS else FULL


@dataclass(frozen=True)
class Segment:
    """A run of one parameter's elements inside one page; ``start`` counts in the parameter, ``at`` in the page."""

    param: int
    start: int
    at: int
    length: int


@dataclass(frozen=True)
class Page:
    """One page: what it holds and its size."""

    kind: Kind
    segments: tuple[Segment, ...]
    size_bytes: int


def state_bytes(sizes: list[int], kind: Kind) -> int:
    """Give the bytes of state for parameters of these sizes, padding included."""
    elements = sum(-(-size // kind.alignment) * kind.alignment for size in sizes)
    return -(-elements // BLOCK_SIZE) * kind.block_bytes


def bytes_per_weight(bits: int) -> float:
    """Give the bytes of state that a weight of a large parameter takes, without padding."""
    return kind_of(bits, MIN_8BIT_ELEMENTS).block_bytes / BLOCK_SIZE


def lay_out(params: dict[int, int], kind: Kind, page_bytes: int) -> list[Page]:
    """Fill pages with the state of parameters, in their order; a large one spans several pages.

    Args:
        params: index to number of elements.
        page_bytes: at least ``kind.block_bytes``; every page but the last has this many, less than one block short.
    """
    capacity = page_bytes // kind.block_bytes * BLOCK_SIZE
    pages: list[list[Segment]] = []
    at = capacity
    for param, size in params.items():
        start = 0
        while start < size:
            if at >= capacity:
                pages.append([])
                at = 0
            length = min(size - start, capacity - at, LONGEST_SEGMENT)
            pages[-1].append(Segment(param, start, at, length))
            start += length
            at += -(-length // kind.alignment) * kind.alignment
    return [_page(kind, segments) for segments in pages]


def _page(kind: Kind, segments: list[Segment]) -> Page:
    end = segments[-1].at + segments[-1].length
    return Page(kind, tuple(segments), -(-end // BLOCK_SIZE) * kind.block_bytes)
