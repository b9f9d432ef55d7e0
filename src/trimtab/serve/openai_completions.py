"""/v1/completions: what is asked, and how its replies are written."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence

from trimtab.serve.answering import Collected, Head, finish_reason
from trimtab.serve.asking import constraint_of, samplings_of
from trimtab.serve.messages import CompletionAsked
from trimtab.serve.replies import CompletionChoice, CompletionLogprobs, CompletionReply, UsageReply
from trimtab.serve.service import Service
from trimtab.serve.token_texts import TokenTexts
from trimtab.text.engine import Finished, Piece, Request

DEFAULT_MAX_TOKENS = 16  # as OpenAI has it


class Completions:
    """The interface for bare text."""

    def count(self, asked: CompletionAsked) -> int:
        """Give n for each prompt."""
        return len(_prompts(asked)) * asked.answers

    def requests(self, asked: CompletionAsked, service: Service) -> list[Request]:
        """Write each prompt, and ask for n answers to it with seeds of their own.

        Raises:
            ApiError: 400, a prompt does not fit.
            RangeError: a setting or a token is not allowed.
        """
        limit = DEFAULT_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens
        samplings = samplings_of(asked, max_tokens=limit, room=None, logprobs=asked.logprobs)
        adapter, constraint = service.names.adapter_of(asked.model), constraint_of(asked)
        written = [_written(prompt, service) for prompt in _prompts(asked)]
        return [Request(prompt, each, adapter, constraint) for prompt in written for each in samplings]

    def writer(self, asked: CompletionAsked, service: Service) -> CompletionWriter:
        """Give the writer of one reply."""
        head = Head(f"cmpl-{secrets.token_hex(12)}", asked.model)
        return CompletionWriter(head, None if asked.logprobs is None else service.texts)


class CompletionWriter:
    """Writes one reply."""

    def __init__(self, head: Head, texts: TokenTexts | None) -> None:
        """Begin; ``texts`` spells tokens where log-probabilities are wanted."""
        self._head, self._texts = head, texts
        self._offsets: Counter[int] = Counter()

    def opening(self, index: int) -> None:
        """Give nothing: text needs no announcement."""

    def piece(self, index: int, piece: Piece) -> CompletionReply:
        """Give more text."""
        choice = CompletionChoice(index=index, text=piece.text, logprobs=self._logprobs(index, [piece]))
        return CompletionReply(**vars(self._head), choices=[choice])

    def closing(self, index: int, finished: Finished) -> CompletionReply:
        """Say why the answer ended."""
        choice = CompletionChoice(index=index, text="", finish_reason=finish_reason(finished))
        return CompletionReply(**vars(self._head), choices=[choice])

    def usage(self, usage: UsageReply) -> CompletionReply:
        """Give the cost of all answers."""
        return CompletionReply(**vars(self._head), choices=[], usage=usage)

    def whole(self, answers: Sequence[Collected], usage: UsageReply) -> CompletionReply:
        """Give all answers at once."""
        choices = [
            CompletionChoice(
                index=index,
                text=answer.text,
                logprobs=self._logprobs(index, answer.pieces),
                finish_reason=answer.reason,
            )
            for index, answer in enumerate(answers)
        ]
        return CompletionReply(**vars(self._head), choices=choices, usage=usage)

    def _logprobs(self, index: int, pieces: Sequence[Piece]) -> CompletionLogprobs | None:
        if self._texts is None:
            return None
        entries = [entry for piece in pieces for entry in piece.logprobs]
        written = self._texts.for_completion(entries, offset=self._offsets[index])
        self._offsets[index] += sum(map(len, written.tokens))
        return written


def _prompts(asked: CompletionAsked) -> list[str] | list[list[int]]:
    if isinstance(asked.prompt, str):
        return [asked.prompt]
    if isinstance(asked.prompt[0], int):
        return [asked.prompt]
    return asked.prompt


def _written(prompt: str | list[int], service: Service) -> tuple[int, ...]:
    return service.prompts.of_text(prompt) if isinstance(prompt, str) else service.prompts.of_tokens(prompt)
