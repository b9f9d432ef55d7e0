"""A device with little memory, injected into the page store: copies happen only when they are waited for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trimtab.core.errors import ResourceError


class FakeTier:
    """Fails allocations past ``room_bytes`` and the copies out whose number is in ``failing``."""

    def __init__(self, room_bytes: int, *, failing: tuple[int, ...] = (), error: type[Exception] = MemoryError) -> None:
        self.room_bytes = room_bytes
        self.failing = failing
        self.error = error
        self.outside: list[Tensor] = []
        self.queue: list[tuple[dict[str, bool], str, int, Tensor]] = []
        self.copies_out = 0
        self.failed = False
        self.closed = False

    def allocate(self, size_bytes: int) -> Tensor:
        if size_bytes > self.room_bytes:
            raise self.error("DefaultCPUAllocator: not enough memory: you tried to allocate too much")
        self.room_bytes -= size_bytes
        return torch.zeros(size_bytes, dtype=torch.uint8)

    def reserve(self, sizes_bytes: list[int]) -> None:
        self.outside = [torch.zeros(size, dtype=torch.uint8) for size in sizes_bytes]

    def copy_out(self, page: int, frame: Tensor) -> Any:
        return self._queue("out", page, frame)

    def copy_in(self, page: int, frame: Tensor) -> Any:
        return self._queue("in", page, frame)

    def wait(self, copy: dict[str, bool]) -> None:
        while "done" not in copy:
            self._run(*self.queue.pop(0))
        if not copy["done"]:
            raise ResourceError("the page cannot be stored")

    def scratch(self, size_bytes: int) -> Tensor:
        return torch.empty(size_bytes, dtype=torch.uint8)

    def recover(self) -> None:
        assert not self.queue, "a failure was not waited for to its end"
        self.failed = False

    def close(self) -> None:
        self.closed = True

    def _queue(self, way: str, page: int, frame: Tensor) -> dict[str, bool]:
        copy: dict[str, bool] = {}
        self.queue.append((copy, way, page, frame))
        return copy

    def _run(self, copy: dict[str, bool], way: str, page: int, frame: Tensor) -> None:
        if way == "out" and not self.failed:
            self.failed = self.copies_out in self.failing
            self.copies_out += 1
        copy["done"] = not self.failed
        if self.failed:
            return
        outside, inside = self.outside[page], frame[: self.outside[page].numel()]
        if way == "out":
            outside.copy_(inside)
        else:
            inside.copy_(outside)
