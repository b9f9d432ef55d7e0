"""A thread that does what it is asked, and between that what it has to do anyway."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from trimtab.core.errors import RangeError, TrimtabError

JOIN_S: Final = 20.0

Result = TypeVar("Result")
Task = Callable[[], Any]
_log = logging.getLogger("trimtab.serve")


class Worker(ABC):
    """Does one thing at a time; public methods are for any thread."""

    def __init__(self, name: str) -> None:
        """Prepare a thread; ``begin`` starts it."""
        self._jobs: deque[tuple[Task, Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def begin(self) -> None:
        """Start to work."""
        self._thread.start()

    def ask(self, job: Callable[[], Result]) -> Future[Result]:
        """Let the thread do something next; errors come with the result."""
        future: Future[Result] = Future()
        with self._changed:
            if self._stopping:
                future.set_exception(RangeError("this picture is being put away. Try again."))
            else:
                self._jobs.append((job, future))
                self._changed.notify()
        return future

    def tell(self, job: Task) -> None:
        """Let the thread do something next; errors go to ``problem``."""
        self.ask(lambda: self._guarded(job))

    @property
    def stopping(self) -> bool:
        """Whether it is to end."""
        return self._stopping

    def stop(self) -> None:
        """Let it end after what it does now."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def wait(self) -> None:
        """Wait until it has ended."""
        self._thread.join(JOIN_S)

    @abstractmethod
    def prepare(self) -> None:
        """Do what comes before all else."""

    @abstractmethod
    def chore(self) -> Task | None:
        """Give what is to be done when nothing is asked; None where there is nothing."""

    @abstractmethod
    def problem(self, text: str) -> None:
        """Take what went wrong."""

    @abstractmethod
    def finish(self) -> None:
        """Do what comes after all else."""

    def _work(self) -> None:
        self._guarded(self.prepare)
        while (task := self._next()) is not None:
            task()
        self._guarded(self.finish)
        with self._changed:
            left, self._jobs = self._jobs, deque()
        for _, future in left:
            future.cancel()

    def _next(self) -> Task | None:
        with self._changed:
            while not self._stopping:
                if self._jobs:
                    job, future = self._jobs.popleft()
                    return lambda: _fulfil(job, future)
                if (chore := self.chore()) is not None:
                    return lambda: self._guarded(chore)
                self._changed.wait()
        return None

    def _guarded(self, task: Task) -> None:
        """Do something; what goes wrong is told, and nothing else ends."""
        try:
            task()
        except TrimtabError as error:
            self.problem(str(error))
        except Exception as error:  # noqa: BLE001 - whoever looks on is told, the thread goes on
            _log.exception("a drag failed")
            self.problem(f"the server failed ({type(error).__name__}). Its log says where.")


def _fulfil(job: Task, future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except Exception as error:  # noqa: BLE001 - whoever asked is told
        future.set_exception(error)
