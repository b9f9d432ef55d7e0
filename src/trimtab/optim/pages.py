"""Keeps as many pages in memory as fit and brings in the others just before they are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from trimtab.core.errors import RangeError, ResourceError
from trimtab.optim.tiers import Tier, is_out_of_memory

LOOK_AHEAD = 2


@dataclass(frozen=True)
class _Arrival:
    """A page on its way into a frame; ``leaving`` was there before (None: nobody) and goes out first if changed."""

    page: int
    frame: int
    leaving: int | None
    written: Any
    read: Any


class PageStore:
    """Pages of bytes, visited over and over in nearly the same order.

    The page whose next use lies farthest ahead goes out first; in a cycle that is the one used last, so that all but
    a few frames keep their pages and only the rest of the state travels.

    Attributes:
        exchanges: how often a page took the place of another.
    """

    def __init__(self, sizes_bytes: list[int], tier: Tier, *, budget_bytes: int | None = None) -> None:
        """Describe the pages; memory is taken by ``prepare``."""
        self.exchanges = 0
        self._sizes = sizes_bytes
        self._tier = tier
        self._budget = budget_bytes
        self._frames: list[Tensor] = []
        self._free: list[int] = []
        self._home: dict[int, int] = {}  # page -> the frame that holds it, or soon will
        self._arriving: dict[int, _Arrival] = {}  # by page, oldest first
        self._turn: dict[int, int] = {}  # page -> its place in the order of the visit
        self._changed: set[int] = set()  # pages that differ from their copy outside

    @property
    def resident_bytes(self) -> int:
        """Memory that the frames take."""
        return sum(frame.numel() for frame in self._frames)

    @property
    def everything_fits(self) -> bool:
        """Say whether every page has a frame of its own."""
        return len(self._frames) == len(self._sizes)

    def prepare(self) -> None:
        """Take frames up to the budget or until an allocation fails, then make room outside for what is left over.

        Raises:
            RangeError: the budget is smaller than a page.
            ResourceError: not even one page fits, or there is no room outside.
        """
        if self._frames or not self._sizes:
            return
        largest_first = sorted(range(len(self._sizes)), key=lambda page: -self._sizes[page])
        largest = self._sizes[largest_first[0]]
        if self._budget is None or self._budget >= sum(self._sizes):
            frames = self._allocate([self._sizes[page] for page in largest_first])
        elif self._budget >= largest:
            frames = self._allocate([largest] * (self._budget // largest))
        else:
            raise RangeError(f"budget_bytes={self._budget:,} is less than one page. Allowed: {largest:,} or more.")
        if len(frames) == len(self._sizes):
            self._home = {page: frame for frame, page in enumerate(largest_first)}
        else:
            frames = [frame for frame in frames if frame.numel() == largest]
            self._tier.reserve(self._sizes)
            self._free = list(range(len(frames)))
        self._frames = frames

    def visit(self, order: Sequence[int], *, writes: bool = True) -> Iterator[tuple[int, UInt8[Tensor, " bytes"]]]:
        """Give each page of ``order`` in turn, valid until the next one is asked for.

        Args:
            order: pages, each at most once.
            writes: whether the caller changes what it is given.

        Raises:
            ResourceError: a page could not be moved; every page still is what it was, in memory or outside.
        """
        self.prepare()
        self._turn = {page: index for index, page in enumerate(order)}
        for position, page in enumerate(order):
            if not self.everything_fits:
                self._look_ahead(order, position)
                if writes:
                    self._changed.add(page)
            yield page, self._frames[self._home[page]][: self._sizes[page]]

    def scratch(self, size_bytes: int) -> UInt8[Tensor, " bytes"]:
        """Give room on the CPU for a copy of pages; outside the memory where not everything fits into it."""
        if size_bytes and self._frames and not self.everything_fits:
            return self._tier.scratch(size_bytes)
        return torch.empty(size_bytes, dtype=torch.uint8)

    def close(self) -> None:
        """Drop all pages."""
        self._tier.close()
        self._frames, self._home = [], {}

    def _allocate(self, sizes_bytes: list[int]) -> list[Tensor]:
        frames: list[Tensor] = []
        for size in sizes_bytes:
            try:
                frames.append(self._tier.allocate(size))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if not frames:
                    raise ResourceError(
                        f"Not even one page of {size:,} bytes of optimizer state fits in memory. "
                        "Use smaller pages (page_bytes), bits=8 or a lower rank."
                    ) from error
                break
        return frames

    def _look_ahead(self, order: Sequence[int], position: int) -> None:
        """Have ``order[position]`` in memory and begin to bring in those behind it."""
        for page in order[position : position + 1 + LOOK_AHEAD]:
            if page not in self._home:
                self._bring(page, position)
        if order[position] not in self._home:  # what is on its way holds every frame
            for page in list(self._arriving):
                self._settle(page)
            self._bring(order[position], position)
        self._settle(order[position])

    def _bring(self, page: int, position: int) -> None:
        """Begin to bring a page in, where that drives out only one that is needed later."""
        if self._free:
            self._start(page, self._free.pop(), None)
            return

        def next_use(other: int) -> int:
            return (self._turn[other] - position) % len(self._turn) if other in self._turn else len(self._turn)

        settled = [other for other in self._home if other not in self._arriving]
        coldest = max(settled, key=next_use, default=page)
        if next_use(coldest) > next_use(page):
            self._start(page, self._home.pop(coldest), coldest)
            self.exchanges += 1

    def _start(self, page: int, frame: int, leaving: int | None) -> None:
        written = None
        if leaving in self._changed:
            written = self._tier.copy_out(leaving, self._frames[frame])
            self._changed.discard(leaving)
        read = self._tier.copy_in(page, self._frames[frame])
        self._home[page] = frame
        self._arriving[page] = _Arrival(page, frame, leaving, written, read)

    def _settle(self, page: int) -> None:
        """Wait for a page that is on its way."""
        if page not in self._arriving:
            return
        try:
            self._tier.wait(self._arriving[page].read)
        except ResourceError:
            self._undo_failed()
            raise
        del self._arriving[page]

    def _undo_failed(self) -> None:
        """Put the books back to what the frames hold."""
        for arrival in self._arriving.values():
            if self._succeeds(arrival.read):
                continue
            if self._home.get(arrival.page) == arrival.frame:  # else it is back where it had been about to leave
                del self._home[arrival.page]
            if arrival.written is None or self._succeeds(arrival.written):
                self._free.append(arrival.frame)
            elif arrival.leaving is not None:
                self._home[arrival.leaving] = arrival.frame
                self._changed.add(arrival.leaving)
        self._arriving = {}
        self._tier.recover()

    def _succeeds(self, copy: Any) -> bool:
        try:
            self._tier.wait(copy)
        except ResourceError:
            return False
        return True
