"""The one generation engine: requests in, events out, everything that runs read in one batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

from trimtab.core.errors import RangeError
from trimtab.models.decoder import Decoder, check_tokens
from trimtab.text.engine.events import Answer, Counters, Event, Finished, Piece
from trimtab.text.engine.request import Request, Sampling, with_seeds
from trimtab.text.engine.scheduler import Scheduler
from trimtab.text.engine.scoring import score_choices
from trimtab.text.engine.stream import Stream
from trimtab.text.engine.worker import Worker

CACHE_BYTES: Final = 256 << 20
BATCH: Final = 16
CHUNK: Final = 256


class Ticket:
    """A request that was handed in."""

    def __init__(self, stream: Stream) -> None:
        """Belongs to the engine."""
        self._stream = stream

    @property
    def finished(self) -> Finished | None:
        """How it ended, once it has."""
        return self._stream.finished

    def cancel(self) -> None:
        """End it before the next pass; from any thread, at any time, without harm where it has ended."""
        self._stream.cancelled = True


class Engine:
    """Runs requests on a decoder.

    Nothing happens by itself: somebody calls ``step``, or one of the methods that do so. ``check``, ``submit`` and
    ``Ticket.cancel`` are for any thread and wait for nobody; of those that step, one at a time works and the others
    wait. Events are delivered in the thread that steps.

    Attributes:
        counters: tokens prefilled, reused and generated so far.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Any,
        *,
        ends: Sequence[int] | None = None,
        cache_bytes: int = CACHE_BYTES,
        batch: int = BATCH,
        chunk: int = CHUNK,
    ) -> None:
        """Take a decoder, which nobody else may use meanwhile.

        Args:
            decoder: of any kind.
            tokenizer: of transformers, for text and constraints.
            ends: tokens that end an answer; the tokenizer's one where None.
            cache_bytes: most memory of states that are kept for prompts to come.
            batch: most requests in one pass.
            chunk: most prompt tokens in one pass; running answers never wait for more than these.

        Raises:
            RangeError: a number is not allowed.
        """
        for name, value, least in (("cache_bytes", cache_bytes, 0), ("batch", batch, 1), ("chunk", chunk, 1)):
            if value < least:
                raise RangeError(f"{name} = {value}: allowed is {least} and above.")
        if ends is None:
            ends = () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
        self.counters = Counters()
        self._decoder = decoder
        self._scheduler = Scheduler(decoder, self.counters, cache_bytes=cache_bytes, batch=batch, chunk=chunk)
        self._worker = Worker(decoder, tokenizer, self._scheduler, ends=ends)
        self._working = threading.RLock()
        self._inbox: deque[Stream] = deque()

    @property
    def kept_bytes(self) -> int:
        """Memory of kept states; what several of them share is counted once."""
        return self._scheduler.tree.bytes

    @property
    def open_requests(self) -> int:
        """Requests that were handed in and have not ended."""
        return len(self._inbox) + len(self._scheduler.waiting) + len(self._scheduler.running)

    def check(self, request: Request) -> None:
        """Refuse at once what would end in an error; for callers who want to know before they begin.

        Raises:
            RangeError: prompt, adapter or constraint is not allowed.
        """
        self._worker.check(request)

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> Ticket:
        """Hand in a request.

        Args:
            request: what is wrong with it is told by an event, not here.
            on_event: is called with each event, the last one a ``Finished``; must be quick. Where it raises, the
                request is cancelled.
        """
        stream = Stream(request, on_event)
        self._inbox.append(stream)
        return Ticket(stream)

    def step(self) -> bool:
        """Do one pass: let requests in, read what each needs next, choose and report tokens.

        Returns:
            Whether anything is left to do.
        """
        with self._working:
            self._sweep()
            self._worker.step()
            return self.open_requests > 0

    def generate(self, request: Request) -> Generator[Event, None, None]:
        """Answer one request, stepping in this thread; closing the iterator cancels it."""
        events: deque[Event] = deque()
        ticket = self.submit(request, events.append)
        try:
            while True:
                while events:
                    yield (event := events.popleft())
                    if isinstance(event, Finished):
                        return
                self.step()
        finally:
            if ticket.finished is None:
                ticket.cancel()
                with self._working:
                    self._sweep()

    def run_all(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer several requests together, stepping in this thread; errors are in each answer's ``finished``."""
        events: list[list[Event]] = [[] for _ in requests]
        tickets = [self.submit(r, mine.append) for r, mine in zip(requests, events, strict=True)]
        while any(ticket.finished is None for ticket in tickets):
            self.step()
        return [_answer(mine) for mine in events]

    def branch(
        self, prompt: Sequence[int], count: int, sampling: Sampling, *, adapter: str | None = None
    ) -> list[Answer]:
        """Answer one prompt several times; it is read once.

        Args:
            prompt: token ids.
            count: how many answers.
            sampling: the seed of answer n is its seed + n.
            adapter: None is the bare base.
        """
        return self.run_all([Request(tuple(prompt), each, adapter) for each in with_seeds(sampling, count)])

    def score(
        self, prompt: Sequence[int], choices: Sequence[Sequence[int]], *, adapter: str | None = None
    ) -> list[float]:
        """Give the log-probability of each choice after a prompt, which is read once; answers that run go on meanwhile.

        Args:
            prompt: token ids.
            choices: token ids of each, at least one.
            adapter: None is the bare base.

        Returns:
            Sums of natural logarithms over each choice's tokens.

        Raises:
            RangeError: prompt, choice or adapter is not allowed.
            NonFiniteError: the network gave a logit that is no number.
        """
        self.check(Request(tuple(prompt), adapter=adapter))
        for choice in choices:
            self.check(Request((*prompt, *choice[:-1]), adapter=adapter))
            check_tokens(choice, self._decoder.vocabulary)
        passes = score_choices(self._scheduler, tuple(prompt), choices, adapter=adapter)
        try:
            while True:
                with self._working:
                    try:
                        next(passes)
                    except StopIteration as done:
                        return list(done.value)
                self.step()
        finally:
            with self._working:
                passes.close()

    def _sweep(self) -> None:
        """Take in what was submitted, and end what was cancelled."""
        while self._inbox:
            self._worker.take_in(self._inbox.popleft())
        self._worker.end_cancelled()


def _answer(events: Sequence[Event]) -> Answer:
    """Put the events of a request together."""
    pieces = [event for event in events if isinstance(event, Piece)]
    (finished,) = [event for event in events if isinstance(event, Finished)]
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    logprobs = tuple(logprob for piece in pieces for logprob in piece.logprobs)
    return Answer("".join(piece.text for piece in pieces), tokens, logprobs, finished)
