"""A thread that does what it is asked, and between that what it has to do anyway."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from trimtab.core.errors import RangeError, TrimtabError

JOIN_S: Final = 20.0

Result = TypeVar("Result")
Task = Callable[[], Any]
_log = logging.getLogger("trimtab.serve")


class PutAway(RangeError):
    """What was asked comes too late."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("this picture is being put away. Try again.")


@dataclass(frozen=True)
class Job:
    """Something that was asked for.

    Attributes:
        task: what to do.
        topic: of several with the same one in a row, only the last is done; empty for what is always done.
        future: gets the result.
    """

    task: Task
    topic: str = ""
    future: Future[Any] = field(default_factory=Future)

    def do(self) -> None:
        """Do it; whoever asked gets the result, or the error."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.task())
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            self.future.set_exception(error)

    def refuse(self) -> None:
        """Tell whoever asked that it will not be done."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(PutAway())


class Worker(ABC):
    """Does one thing at a time; public methods are for any thread."""

    def __init__(self, name: str) -> None:
        """Prepare a thread; ``begin`` starts it."""
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def begin(self) -> None:
        """Start to work."""
        self._thread.start()

    def ask(self, task: Callable[[], Result]) -> Future[Result]:
        """Let the thread do something next; errors come with the result."""
        return self._add(Job(task))

    def tell(self, task: Task, *, topic: str = "") -> None:
        """Let the thread do something next; errors go to ``problem``.

        Args:
            task: what to do.
            topic: it takes the place of what was asked for just before, if that has the same topic and waits still.
        """
        self._add(Job(lambda: self._guarded(task), topic))

    @property
    def stopping(self) -> bool:
        """Whether it is to end."""
        return self._stopping

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Let it end after what it does now."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def wait(self, timeout_s: float = JOIN_S) -> bool:
        """Wait until it has ended; tell whether it has."""
        self._thread.join(timeout_s)
        return self.ended

    @abstractmethod
    def prepare(self) -> None:
        """Do what comes before all else."""

    @abstractmethod
    def chore(self) -> Task | None:
        """Give what is to be done when nothing is asked; None where there is nothing."""

    @abstractmethod
    def rest_s(self) -> float | None:
        """Say in how many seconds there may be a chore again; None where only something asked for brings one."""

    @abstractmethod
    def problem(self, text: str) -> None:
        """Take what went wrong."""

    @abstractmethod
    def finish(self) -> None:
        """Do what comes after all else."""

    def _add(self, job: Job) -> Future[Any]:
        with self._changed:
            if self._stopping:
                job.refuse()
                return job.future
            if job.topic and self._jobs and self._jobs[-1].topic == job.topic:
                self._jobs.pop()
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def _work(self) -> None:
        self._guarded(self.prepare)
        while (task := self._next()) is not None:
            task()
        self._guarded(self.finish)
        with self._changed:
            left, self._jobs = self._jobs, deque()
        for job in left:
            job.refuse()

    def _next(self) -> Task | None:
        with self._changed:
            while not self._stopping:
                if self._jobs:
                    return self._jobs.popleft().do
                if (chore := self.chore()) is not None:
                    return lambda: self._guarded(chore)
                self._changed.wait(self.rest_s())
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
