"""Ctrl-C and SIGTERM as one exception that arrives only where a run can be left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The person, or the machine, asked the work to stop.

    No ``except Exception`` on the way may swallow it, and it is no ``KeyboardInterrupt``: libraries for command lines
    turn that into an exit code of their own.
    """

    def __init__(self, number: int) -> None:
        """Remember which signal asked."""
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """What the shell expects of a process that this signal ended."""
        return 128 + self.number


class Interrupts:
    """Turns signals into ``Interrupted`` while entered; inside ``deferred()`` they wait until its end."""

    def __init__(self, numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)) -> None:
        """Choose the signals to turn."""
        self.numbers = numbers
        self._depth = 0
        self._pending: int | None = None

    @contextmanager
    def catching(self) -> Iterator[Interrupts]:
        """Catch signals inside the block, in the main thread; elsewhere signals stay as they are."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._arrived) for number in self.numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let nothing interrupt the block; what arrives meanwhile is raised at its end."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._depth == 0 and self._pending is not None:
            number, self._pending = self._pending, None
            raise Interrupted(number)

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        if self._depth:
            self._pending = number
            return
        raise Interrupted(number)
