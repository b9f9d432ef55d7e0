"""/v1/chat/completions: what is asked, and how its replies are written."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from trimtab.serve.answering import Collected, Head, finish_reason
from trimtab.serve.api_error import ApiError
from trimtab.serve.asking import constraint_of, samplings_of
from trimtab.serve.messages import ChatAsked
from trimtab.serve.replies import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatLogprobs,
    ChatReply,
    Delta,
    UsageReply,
)
from trimtab.serve.service import Service
from trimtab.serve.token_texts import TokenTexts
from trimtab.text.engine import Finished, Piece, Request


class Chat:
    """The interface for conversations."""

    def count(self, asked: ChatAsked) -> int:
        """Give n."""
        return asked.answers

    def requests(self, asked: ChatAsked, service: Service) -> list[Request]:
        """Write the conversation once, and ask for each answer with a seed of its own.

        Raises:
            ApiError: 400, the conversation cannot be written or does not fit.
            RangeError: a setting is not allowed.
        """
        limit = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
        prompt = service.prompts.of_chat(asked.messages)
        room = service.prompts.room(prompt)
        samplings = samplings_of(asked, max_tokens=limit, room=room, logprobs=_logprobs(asked))
        adapter, constraint = service.names.adapter_of(asked.model), constraint_of(asked)
        return [Request(prompt, each, adapter, constraint) for each in samplings]

    def writer(self, asked: ChatAsked, service: Service) -> ChatWriter:
        """Give the writer of one reply."""
        head = Head(f"chatcmpl-{secrets.token_hex(12)}", asked.model)
        return ChatWriter(head, service.texts if asked.logprobs else None)


class ChatWriter:
    """Writes one reply."""

    def __init__(self, head: Head, texts: TokenTexts | None) -> None:
        """Begin; ``texts`` spells tokens where log-probabilities are wanted."""
        self._head, self._texts = head, texts

    def opening(self, index: int) -> ChatChunk:
        """Say who speaks."""
        return self._chunk(ChatChunkChoice(index=index, delta=Delta(role="assistant", content="")))

    def piece(self, index: int, piece: Piece) -> ChatChunk:
        """Give more text."""
        delta = Delta(content=piece.text)
        return self._chunk(ChatChunkChoice(index=index, delta=delta, logprobs=self._logprobs([piece])))

    def closing(self, index: int, finished: Finished) -> ChatChunk:
        """Say why the answer ended."""
        return self._chunk(ChatChunkChoice(index=index, delta=Delta(), finish_reason=finish_reason(finished)))

    def usage(self, usage: UsageReply) -> ChatChunk:
        """Give the cost of all answers."""
        return ChatChunk(**vars(self._head), choices=[], usage=usage)

    def whole(self, answers: Sequence[Collected], usage: UsageReply) -> ChatReply:
        """Give all answers at once."""
        choices = [
            ChatChoice(
                index=index,
                message=AssistantMessage(content=answer.text),
                logprobs=self._logprobs(answer.pieces),
                finish_reason=answer.reason,
            )
            for index, answer in enumerate(answers)
        ]
        return ChatReply(**vars(self._head), choices=choices, usage=usage)

    def _chunk(self, choice: ChatChunkChoice) -> ChatChunk:
        return ChatChunk(**vars(self._head), choices=[choice])

    def _logprobs(self, pieces: Sequence[Piece]) -> ChatLogprobs | None:
        if self._texts is None:
            return None
        return ChatLogprobs(content=self._texts.for_chat([entry for piece in pieces for entry in piece.logprobs]))


def _logprobs(asked: ChatAsked) -> int | None:
    if asked.top_logprobs and not asked.logprobs:
        message = f"top_logprobs = {asked.top_logprobs} without logprobs: allowed only with logprobs = true."
        raise ApiError(400, message, param="top_logprobs", code="invalid_value")
    return (asked.top_logprobs or 0) if asked.logprobs else None
