"""One pass after another: what is asked is checked, read, written and ended, each request by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from trimtab.core.errors import NonFiniteError, RangeError, TrimtabError
from trimtab.models.decoder import Decoder, Read, check_adapter, check_tokens
from trimtab.models.tokenizer import RUST_PANIC
from trimtab.text.engine.events import Reason
from trimtab.text.engine.matcher import Constraints, Matcher
from trimtab.text.engine.request import Request
from trimtab.text.engine.sampling import choose, log_probability, usable
from trimtab.text.engine.scheduler import Scheduler
from trimtab.text.engine.stream import Ending, Stream

_log = logging.getLogger("trimtab.text")


class Worker:
    """Does the passes of an engine; for one thread at a time.

    Attributes:
        scheduler: who waits, who runs, and what is kept.
    """

    def __init__(self, decoder: Decoder, tokenizer: Any, scheduler: Scheduler, *, ends: Sequence[int]) -> None:
        """Begin with nothing to do.

        Args:
            decoder: reads.
            tokenizer: of transformers.
            scheduler: of the same decoder.
            ends: tokens that end an answer.
        """
        self.scheduler = scheduler
        self._decoder, self._tokenizer = decoder, tokenizer
        self._ending = Ending(frozenset(ends), decoder.window)
        self._constraints = Constraints(tokenizer, vocabulary=decoder.vocabulary, ends=ends)

    def check(self, request: Request) -> Matcher | None:
        """Refuse what would end in an error; for any thread.

        Returns:
            What follows the answer through its constraint, where it has one.

        Raises:
            RangeError: prompt, adapter or constraint is not allowed.
        """
        check_tokens(request.prompt, self._decoder.vocabulary)
        check_adapter(request.adapter, self._decoder.adapters)
        window = self._decoder.window
        if window is not None and len(request.prompt) > window:
            raise RangeError(
                f"a prompt of {len(request.prompt)} tokens: allowed are {window}, the model's window. Shorten it."
            )
        return None if request.constraint is None else self._constraints.matcher(request.constraint)

    def step(self) -> None:
        """Let requests in, read what each needs next, choose and report tokens."""
        for stream in self.scheduler.admissible():
            with self._ended_by_failure(stream):
                self.scheduler.let_in(stream)
        self._read(self.scheduler.plan())
        for stream in [stream for stream in self.scheduler.running if stream.logits is not None]:
            with self._ended_by_failure(stream):
                self._write(stream)

    def take_in(self, stream: Stream) -> None:
        """Let a request wait for its turn, or end it where it is not allowed."""
        with self._ended_by_failure(stream):
            matcher = self.check(stream.request)
            stream.prepare(self._tokenizer, self._ending, matcher, vocabulary=self._decoder.vocabulary)
            self.scheduler.waiting.append(stream)

    def end_cancelled(self) -> None:
        """End every request that was cancelled."""
        for stream in [*self.scheduler.waiting, *self.scheduler.running]:
            if stream.cancelled:
                self._end(stream, "cancelled")

    def _read(self, planned: list[tuple[Stream, Read]]) -> None:
        """Read in one pass; where one read is refused, read each by itself, so that only that one ends."""
        try:
            results = self._decoder.read([read for _, read in planned]) if planned else []
        except RangeError as error:  # nothing was read
            if len(planned) == 1:
                self._fail(planned[0][0], error)
            else:
                for pair in planned:
                    self._read([pair])
            return
        except Exception as error:  # noqa: BLE001 - told to every request of the pass: their states cannot be trusted
            problem = TrimtabError(f"reading failed ({type(error).__name__}: {error!s:.300}). Ask for less at a time.")
            for stream, _ in planned:
                self._fail(stream, problem)
            return
        for (stream, read), logits in zip(planned, results, strict=True):
            self._note(stream, read, logits)

    def _note(self, stream: Stream, read: Read, logits: Tensor) -> None:
        if all(usable(logits)):
            self.scheduler.has_read(stream, read, logits)
        else:
            what = f"the logits after token {len(stream.tokens)} of this request are not finite"
            self._fail(stream, NonFiniteError(f"{what}. Check the model and the adapter {stream.request.adapter!r}."))

    @contextmanager
    def _ended_by_failure(self, stream: Stream) -> Iterator[None]:
        """End a request, and no other, where the block fails at it; Ctrl-C is no failure and goes on."""
        try:
            yield
        except TrimtabError as error:
            self._fail(stream, error)
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != RUST_PANIC:
                raise
            _log.exception("a request failed")
            problem = f"the request failed ({type(error).__name__}: {error!s:.300}). The log says where."
            self._fail(stream, TrimtabError(problem))

    def _write(self, stream: Stream) -> None:
        """Choose the next token of an answer."""
        assert stream.logits is not None
        reason = self._choose(stream, stream.logits)
        if reason is not None:
            self._end(stream, reason)

    def _choose(self, stream: Stream, logits: Tensor) -> Reason | None:
        token = choose(logits, stream.row(logits.device))
        wanted = stream.request.sampling.logprobs
        self.scheduler.counters.generated += 1
        return stream.take(token, None if wanted is None else log_probability(logits, token, wanted))

    def _fail(self, stream: Stream, error: TrimtabError) -> None:
        self.scheduler.leave(stream, keep=False)
        stream.finish("error", error)

    def _end(self, stream: Stream, reason: Reason) -> None:
        self.scheduler.leave(stream)
        stream.finish(reason)
