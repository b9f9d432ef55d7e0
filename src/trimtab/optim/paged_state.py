"""The state of all parameters of one optimizer: laid out in pages, read and written by parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.optim.layout import Kind, Page, Segment, lay_out, state_bytes
from trimtab.optim.pages import PageStore
from trimtab.optim.tiers import Tier

LARGEST_PAGE_BYTES = 16 << 20
LARGEST_TRAVELLING_PAGE_BYTES = 2 << 20
PAGES_PER_BUDGET = 6
SMALLEST_BUDGET_BYTES = 4096
WORD_BYTES = 8


@dataclass(frozen=True)
class Memory:
    """What the state may take.

    Attributes:
        tier: makes the memory tier of a device.
        budget_bytes: for each device; None: as much as there is.
        page_bytes: None: chosen from the budget.
    """

    tier: Callable[[torch.device], Tier]
    budget_bytes: int | None = None
    page_bytes: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot hold a page."""
        if self.budget_bytes is not None and self.budget_bytes < SMALLEST_BUDGET_BYTES:
            raise RangeError(
                f"budget_bytes={self.budget_bytes:,} is too little for optimizer pages. "
                f"Allowed: {SMALLEST_BUDGET_BYTES:,} bytes or more, or None for as much as there is."
            )
        if self.page_bytes is not None and self.page_bytes < SMALLEST_BUDGET_BYTES // 2:
            raise RangeError(f"page_bytes={self.page_bytes:,}. Allowed: {SMALLEST_BUDGET_BYTES // 2:,} or more.")

    def page_bytes_for(self, total_bytes: int) -> int:
        """Choose a page size: large where all fits, else small enough that several are in memory at once."""
        if self.page_bytes is not None:
            return self.page_bytes
        if self.budget_bytes is None or self.budget_bytes >= total_bytes:
            return min(LARGEST_PAGE_BYTES, max(total_bytes, SMALLEST_BUDGET_BYTES))
        share = max(self.budget_bytes // PAGES_PER_BUDGET, SMALLEST_BUDGET_BYTES // 2)
        return min(LARGEST_TRAVELLING_PAGE_BYTES, share)


@dataclass(frozen=True)
class Shelf:
    """The pages of one device."""

    pages: list[Page]
    store: PageStore

    def visit(self, order: list[int], *, writes: bool = True) -> Iterator[tuple[Page, int, list[Tensor]]]:
        """Give each page with its index and its parts, valid until the next is asked for."""
        for index, frame in self.store.visit(order, writes=writes):
            yield self.pages[index], index, self.pages[index].kind.views(frame)


class PagedState:
    """State tensors of parameters that are known by their index.

    Attributes:
        kinds: how each parameter's state is stored.
        shelves: pages by device.
    """

    def __init__(self, params: list[Tensor], kinds: list[Kind], memory: Memory) -> None:
        """Lay the pages out; memory is taken by ``prepare``."""
        self.kinds = kinds
        self._seen = [(param.device, param.dtype, param.shape) for param in params]
        self.shelves: dict[torch.device, Shelf] = {}
        for device in dict.fromkeys(own for own, _, _ in self._seen):
            indices = [index for index, (own, _, _) in enumerate(self._seen) if own == device]
            self.shelves[device] = self._shelf(device, indices, memory)

    def prepare(self) -> None:
        """Take the memory, and the room outside for what does not fit."""
        for shelf in self.shelves.values():
            shelf.store.prepare()

    def knows(self, index: int, param: Tensor) -> bool:
        """Say whether a parameter still has the device, type and shape that its state was laid out for."""
        device, dtype, shape = self._seen[index]
        return param.device == device and param.dtype == dtype and param.shape == shape

    def close(self) -> None:
        """Give memory and files back."""
        for shelf in self.shelves.values():
            shelf.store.close()

    def read(self, wanted: list[int]) -> dict[int, dict[str, Tensor]]:
        """Copy the state of some parameters into tensors on the CPU, codes in the parameter's shape.

        Where pages have gone to a file, so does the copy, in a file of its own without a name: saving must not need
        the memory that was not there in the first place.
        """
        states = self._blank(wanted)
        for parts, segment in self._walk(states, writes=False):
            for target, source in self._pieces(states[segment.param], parts, segment):
                target.copy_(source)
        return states

    def write(self, states: dict[int, dict[str, Tensor]]) -> None:
        """Take the state of some parameters from tensors of the shapes that ``read`` gives."""
        for parts, segment in self._walk(states, writes=True):
            for source, target in self._pieces(states[segment.param], parts, segment):
                target.copy_(source)

    def shapes_of(self, index: int) -> dict[str, tuple[int, ...]]:
        """Give the shape of each part of one parameter's state."""
        shape, kind = self._seen[index][2], self.kinds[index]
        blocks = {stride: -(-shape.numel() // stride) for stride in kind.strides}
        pairs = zip(kind.names, kind.strides, strict=True)
        return {name: tuple(shape) if stride == 1 else (blocks[stride],) for name, stride in pairs}

    def _blank(self, wanted: list[int]) -> dict[int, dict[str, Tensor]]:
        """Make tensors for the state of some parameters, all in one piece of memory for each device."""
        states: dict[int, dict[str, Tensor]] = {}
        for device, shelf in self.shelves.items():
            here = [index for index in wanted if self._seen[index][0] == device]
            plans = {index: self._parts_of(index) for index in here}
            total = sum(size for parts in plans.values() for _, _, _, size in parts)
            room, at = shelf.store.scratch(total), 0
            for index, parts in plans.items():
                states[index] = {}
                for name, dtype, shape, size in parts:
                    states[index][name] = room[at : at + math.prod(shape) * dtype.itemsize].view(dtype).view(shape)
                    at += size
        return {index: states[index] for index in wanted}

    def _parts_of(self, index: int) -> list[tuple[str, torch.dtype, tuple[int, ...], int]]:
        """Give name, type, shape and bytes, rounded up to whole words, of each part of one parameter's state."""
        shapes = self.shapes_of(index)
        pairs = zip(self.kinds[index].names, self.kinds[index].dtypes, strict=True)
        sizes = {name: math.prod(shapes[name]) * dtype.itemsize for name, dtype in pairs}
        pairs = zip(self.kinds[index].names, self.kinds[index].dtypes, strict=True)
        return [(name, dtype, shapes[name], -(-sizes[name] // WORD_BYTES) * WORD_BYTES) for name, dtype in pairs]

    def _walk(self, states: dict[int, dict[str, Tensor]], *, writes: bool) -> Iterator[tuple[list[Tensor], Segment]]:
        for shelf in self.shelves.values():
            order = [i for i, page in enumerate(shelf.pages) if any(s.param in states for s in page.segments)]
            for page, _, parts in shelf.visit(order, writes=writes) if order else ():
                for segment in page.segments:
                    if segment.param in states:
                        yield parts, segment

    def _pieces(
        self, state: dict[str, Tensor], parts: list[Tensor], segment: Segment
    ) -> Iterator[tuple[Tensor, Tensor]]:
        kind = self.kinds[segment.param]
        for name, part, stride in zip(kind.names, parts, kind.strides, strict=True):
            start, at, length = segment.start // stride, segment.at // stride, -(-segment.length // stride)
            yield state[name].view(-1)[start : start + length], part[at : at + length]

    def _shelf(self, device: torch.device, indices: list[int], memory: Memory) -> Shelf:
        by_kind: dict[Kind, dict[int, int]] = {}
        for index in indices:
            by_kind.setdefault(self.kinds[index], {})[index] = self._seen[index][2].numel()
        total = sum(state_bytes(list(sizes.values()), kind) for kind, sizes in by_kind.items())
        page_bytes = memory.page_bytes_for(total)
        pages = [page for kind, sizes in by_kind.items() for page in lay_out(sizes, kind, page_bytes)]
        sizes_bytes = [page.size_bytes for page in pages]
        return Shelf(pages, PageStore(sizes_bytes, memory.tier(device), budget_bytes=memory.budget_bytes))
