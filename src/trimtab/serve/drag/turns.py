"""Turns: one heavy job at a time, in the order in which they were asked for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock that nobody can take twice while somebody else waits."""

    def __init__(self) -> None:
        """Begin with nobody at work."""
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @property
    def asked(self) -> int:
        """How many have the turn or wait for it."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether whoever asks now has to wait."""
        return bool(self._queue)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn, and have it."""
        mine = object()
        with self._changed:
            self._queue.append(mine)
            self._changed.wait_for(lambda: self._queue[0] is mine)
        try:
            yield
        finally:
            with self._changed:
                self._queue.popleft()
                self._changed.notify_all()
