"""The engine at work in a thread of its own, and what the event loop may ask of it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from trimtab.core.errors import TrimtabError
from trimtab.serve.api_error import ApiError
from trimtab.serve.metrics import Metrics
from trimtab.serve.model_names import ModelNames
from trimtab.serve.speech import Speech
from trimtab.text.engine import Engine, Event, Finished, Request, Ticket, Usage

QUEUE: Final = 32
RETRY_AFTER_S: Final = 2
PAUSE_AFTER_FAULT_S: Final = 0.1

Prepared = TypeVar("Prepared")
_log = logging.getLogger("trimtab.serve")


class Service:
    """One engine for many clients; all methods are for the thread of the event loop.

    Attributes:
        engine: is driven by this service only.
        names: of the base and the adapters.
        prompts: writes prompts; call it through ``prepare``.
        texts: spells single tokens.
        queue: most answers that wait or run.
        metrics: counts.
        draining: whether no new requests are taken.
    """

    def __init__(self, engine: Engine, speech: Speech, names: ModelNames, *, queue: int = QUEUE) -> None:
        """Take an engine; nothing runs before ``start``."""
        self.engine, self.names, self.queue = engine, names, queue
        self.prompts, self.texts = speech.prompts, speech.texts
        self.metrics = Metrics()
        self.draining = False
        self.jobs: set[Job] = set()
        self.taken = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox: list[tuple[Job, int, Event]] = []
        self._wake = threading.Condition()
        self._stopping = False
        self._worker = threading.Thread(target=self._work, name="trimtab-engine", daemon=True)
        self._preparing = ThreadPoolExecutor(1, "trimtab-prepare")

    def start(self) -> None:
        """Begin to work; events are handed to the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._worker.start()

    @property
    def alive(self) -> bool:
        """Whether somebody does the work."""
        return self._worker.is_alive()

    async def stop(self) -> None:
        """End all answers and the threads."""
        self.draining = True
        self.cancel_all()
        with self._wake:
            self._stopping = True
            self._wake.notify()
        await asyncio.to_thread(self._worker.join)
        self._preparing.shutdown(wait=False, cancel_futures=True)

    def cancel_all(self) -> None:
        """End every answer before the next pass."""
        for job in list(self.jobs):
            job.cancel()

    def admit(self, count: int) -> Job:
        """Take places for some answers.

        Raises:
            ApiError: 400, 429 or 503: more than there will ever be, than there are now, or the server is stopping.
        """
        if self.draining:
            raise ApiError(503, "the server is stopping. Try again later.", code="stopping")
        if count > self.queue:
            message = f"{count} answers: allowed are {self.queue} at a time. Ask for fewer, or start with --queue."
            raise ApiError(400, message, param="n", code="too_many_answers")
        if self.taken + count > self.queue:
            message = f"{self.taken} answers wait or run, allowed are {self.queue}. Try again in {RETRY_AFTER_S} s."
            raise ApiError(429, message, code="queue_full", headers={"Retry-After": str(RETRY_AFTER_S)})
        self.taken += count
        job = Job(self, count)
        self.jobs.add(job)
        return job

    async def prepare(self, work: Callable[[], Prepared]) -> Prepared:
        """Do something with the tokenizer, in a thread that does nothing else."""
        return await asyncio.get_running_loop().run_in_executor(self._preparing, work)

    def submit(self, job: Job, index: int, request: Request) -> Ticket:
        """Hand an answer to the engine; its events go to the job."""
        ticket = self.engine.submit(request, lambda event: self._outbox.append((job, index, event)))
        self.wake()
        return ticket

    def wake(self) -> None:
        """Let the worker look whether there is something to do."""
        with self._wake:
            self._wake.notify()

    def _work(self) -> None:
        """Step while there is work; sleep while there is none."""
        while self._wait_for_work():
            try:
                self.engine.step()
            except BaseException as error:  # noqa: BLE001 - also a panic of Rust: clients are told, the server goes on
                _log.exception("the engine failed; all answers are ended")
                self._call(self._fail, TrimtabError(f"the engine failed ({type(error).__name__}). Try again later."))
                if self._stopping:
                    return
                time.sleep(PAUSE_AFTER_FAULT_S)
            self._deliver()

    def _wait_for_work(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self.engine.open_requests > 0)
            return not self._stopping or self.engine.open_requests > 0

    def _deliver(self) -> None:
        """Hand over the events of a pass at once: one wake-up of the loop, however many clients there are."""
        batch, self._outbox = self._outbox, []
        if batch:
            self._call(_hand_over, batch)

    def _call(self, function: Callable[..., None], argument: object) -> None:
        assert self._loop is not None  # the worker starts after it is set
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:  # the loop was closed without ``stop``: nobody listens any more
            self._stopping = True

    def _fail(self, error: TrimtabError) -> None:
        for job in list(self.jobs):
            job.fail(error)


class Job:
    """The answers to one HTTP request: places in the queue, then events, until ``close``."""

    def __init__(self, service: Service, count: int) -> None:
        """Belongs to ``Service.admit``."""
        self._service, self.count = service, count
        self._tickets: list[Ticket] = []
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._finished: set[int] = set()
        self.cancelled = False

    def start(self, requests: Sequence[Request]) -> None:
        """Hand in the answers, as many as there are places."""
        for index, request in enumerate(requests):
            self._tickets.append(self._service.submit(self, index, request))
        if self.cancelled:  # while the prompts were prepared
            self.cancel()

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """Yield each event with the number of its answer, until all answers have ended."""
        left = self.count
        while left:
            index, event = await self._events.get()
            left -= isinstance(event, Finished)
            yield index, event

    def cancel(self) -> None:
        """End all answers before the next pass; their last events still come."""
        self.cancelled = True
        for ticket in self._tickets:
            ticket.cancel()
        self._service.wake()

    def close(self) -> None:
        """Give up what has not ended; each place is free as soon as the engine has let it go."""
        self._service.jobs.discard(self)
        if not self._tickets:
            self._service.taken -= self.count
        elif len(self._finished) < self.count:
            self.cancel()

    def take(self, index: int, event: Event) -> None:
        """Take an event; the last one of an answer frees its place, and nothing follows it."""
        if index in self._finished:
            return
        if isinstance(event, Finished):
            self._finished.add(index)
            self._service.taken -= 1
            self._service.metrics.answers[event.reason] += 1
        self._events.put_nowait((index, event))

    def fail(self, error: TrimtabError) -> None:
        """End all answers with an error, whatever the engine does with them."""
        self.cancel()
        for index in range(len(self._tickets)):
            self.take(index, Finished("error", Usage(0, 0, 0), error))


def _hand_over(batch: Sequence[tuple[Job, int, Event]]) -> None:
    for job, index, event in batch:
        job.take(index, event)
