"""What a request gives back: text as it becomes certain, then one end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from trimtab.core.errors import TrimtabError

Reason: TypeAlias = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class TokenLogprob:
    """How likely a token was, before temperature and filters.

    Attributes:
        token: the one that was chosen.
        logprob: natural logarithm of its probability.
        alternatives: the likeliest tokens with theirs, likeliest first.
    """

    token: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """More of the answer.

    Text is held back while a character is incomplete or a stop text may have begun; the pieces' texts together are
    the answer, their tokens together are all tokens that were chosen, the end token and a stop text's included.

    Attributes:
        text: whole characters.
        tokens: chosen since the piece before.
        logprobs: one a token where they were asked for, else empty.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Usage:
    """What a request cost, in tokens.

    Attributes:
        prompt: length of the prompt.
        reused: how many of these were not read again, because their state was kept or shared.
        generated: tokens chosen, the end token included.
    """

    prompt: int
    reused: int
    generated: int


@dataclass(frozen=True)
class Finished:
    """The end of a request; nothing follows.

    Attributes:
        reason: "stop" for an end token, a stop text or a complete constraint; "length" for ``max_tokens`` or a full
            window; "cancelled"; "error".
        usage: what it cost.
        error: what went wrong, where the reason is "error".
    """

    reason: Reason
    usage: Usage
    error: TrimtabError | None = None


Event: TypeAlias = Piece | Finished


@dataclass
class Counters:
    """What an engine did since it began, in tokens; a prompt's tokens are either prefilled or reused.

    Attributes:
        prefilled: read that nobody chose: prompts, and choices that were scored.
        reused: not read, because their state was kept or shared.
        generated: chosen.
    """

    prefilled: int = 0
    reused: int = 0
    generated: int = 0


@dataclass(frozen=True)
class Answer:
    """All that a request gave.

    Attributes:
        text: the answer.
        tokens: all tokens chosen.
        logprobs: one a token where they were asked for.
        finished: how it ended.
    """

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    finished: Finished
