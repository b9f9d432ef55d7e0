"""One request on its way: what it has read and written, and the events it gives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trimtab.core.errors import TrimtabError
from trimtab.models.decoder import State
from trimtab.text.engine.detokenize import Detokenizer
from trimtab.text.engine.events import Event, Finished, Piece, Reason, TokenLogprob, Usage
from trimtab.text.engine.matcher import Matcher
from trimtab.text.engine.prefix_tree import Kept
from trimtab.text.engine.request import Request
from trimtab.text.engine.sampling import Row
from trimtab.text.engine.stop_texts import StopTexts

_log = logging.getLogger("trimtab.text")


@dataclass(frozen=True)
class Ending:
    """What ends answers of one model.

    Attributes:
        tokens: that end an answer.
        window: most tokens a state may hold; None is no limit.
    """

    tokens: frozenset[int]
    window: int | None


class Stream:
    """A request, from being asked to its end.

    Attributes:
        request: what is asked.
        tokens: the prompt and what was written.
        state: what was read of them; None before it begins and after it ends.
        logits: (vocabulary,) to choose the next token from, where they are known.
        kept: states of the prefix tree that this one builds on.
        fork_at: where to leave a state behind for others while the prompt is read; 0 is nowhere.
        reused: tokens of the prompt that were not read.
        cancelled: set from any thread; the engine looks at it before each pass.
        finished: the last event, once it has been given.
    """

    def __init__(self, request: Request, on_event: Callable[[Event], None]) -> None:
        """Take a request that has not been looked at yet."""
        self.request, self._on_event = request, on_event
        self.tokens = list(request.prompt)
        self.state: State | None = None
        self.logits: Tensor | None = None
        self.kept: list[Kept] = []
        self.fork_at = self.reused = 0
        self.cancelled = False
        self.finished: Finished | None = None
        self._ending = Ending(frozenset(), None)
        self._speller: Detokenizer | None = None
        self._stops = StopTexts(request.sampling.stop)
        self._matcher: Matcher | None = None
        self._seen: Tensor | None = None
        self._written: Tensor | None = None
        self._waiting: list[int] = []
        self._waiting_logprobs: list[TokenLogprob] = []

    def prepare(self, tokenizer: Any, ending: Ending, matcher: Matcher | None, *, vocabulary: int) -> None:
        """Get ready to write."""
        self._ending, self._matcher = ending, matcher
        self._speller = Detokenizer(tokenizer)
        sampling = self.request.sampling
        if sampling.repetition_penalty != 1:
            self._seen = torch.zeros(vocabulary, dtype=torch.bool)
            self._seen[self.tokens] = True
        if sampling.presence_penalty or sampling.frequency_penalty:
            self._written = torch.zeros(vocabulary)

    @property
    def unread(self) -> Sequence[int]:
        """Tokens that the state has not read."""
        return self.tokens[0 if self.state is None else self.state.length :]

    @property
    def generated(self) -> int:
        """Tokens written."""
        return len(self.tokens) - len(self.request.prompt)

    @property
    def in_prompt(self) -> bool:
        """Whether the prompt has not been read to its end."""
        return self.state is None or self.state.length < len(self.request.prompt)

    def row(self, device: torch.device) -> Row:
        """Say how to choose the next token.

        Raises:
            TrimtabError: the constraint leaves none.
        """
        allowed = None if self._matcher is None else self._matcher.allowed().to(device)
        seen = None if self._seen is None else self._seen.to(device)
        written = None if self._written is None else self._written.to(device)
        return Row(self.request.sampling, len(self.tokens), seen, allowed, written)

    def take(self, token: int, logprob: TokenLogprob | None) -> Reason | None:
        """Write a token.

        Returns:
            Why the answer ends here, or None where it goes on.

        Raises:
            TrimtabError: the constraint refuses it.
        """
        self.logits = None
        self.tokens.append(token)
        self._waiting.append(token)
        if logprob is not None:
            self._waiting_logprobs.append(logprob)
        if self._seen is not None:
            self._seen[token] = True
        if self._written is not None:
            self._written[token] += 1
        if token in self._ending.tokens:
            return "stop"
        if self._matcher is not None:
            self._matcher.advance(token)
        assert self._speller is not None  # a stream writes only once it is prepared
        text = self._stops.push(self._speller.push(token))
        if text:
            self._give(text)
        return self._reason()

    def finish(self, reason: Reason, error: TrimtabError | None = None) -> None:
        """Give the text that was held back, and the last event; the state is the caller's to keep or close."""
        if self._speller is not None:
            rest = self._stops.push(self._speller.finish()) + self._stops.finish()
            if rest or self._waiting:
                self._give(rest)
            reason = "stop" if reason == "length" and self._stops.found else reason
        usage = Usage(len(self.request.prompt), self.reused, self.generated)
        self.finished = Finished(reason, usage, error)
        self._tell(self.finished)

    def _give(self, text: str) -> None:
        piece = Piece(text, tuple(self._waiting), tuple(self._waiting_logprobs))
        self._waiting.clear()
        self._waiting_logprobs.clear()
        self._tell(piece)

    def _tell(self, event: Event) -> None:
        """Deliver an event; who cannot take it is not written for any longer, and disturbs nobody else."""
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001 - the receiver's own fault: logged, and its request ends
            _log.exception("a receiver of events failed; its request is cancelled")
            self.cancelled = True

    def _reason(self) -> Reason | None:
        window = self._ending.window
        if self._stops.found or (self._matcher is not None and self._matcher.finished):
            return "stop"
        full = window is not None and len(self.tokens) > window
        return "length" if full or self.generated >= self.request.sampling.max_tokens else None
