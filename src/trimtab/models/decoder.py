"""What a language model must offer to be run token by token: states that can be forked, read in batches.

A transformer's cache and a recurrent state are the same thing here: what one sequence has read so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from trimtab.core.errors import RangeError, did_you_mean

Wanted: TypeAlias = Literal["last", "all", "none"]
"""Of which of the tokens that are read the logits are needed."""


@runtime_checkable
class State(Protocol):
    """What one sequence has read so far, under one adapter or the bare base."""

    @property
    def length(self) -> int:
        """Tokens read."""

    @property
    def bytes(self) -> int:
        """Memory that it holds; what it shares with other states is counted in full."""

    def parts(self) -> Mapping[int, int]:
        """Give the pieces of memory that it holds: identity to bytes.

        States that share a piece name it by the same identity, which stays the piece's own as long as one of them
        holds it.
        """

    def fork(self, at: int | None = None) -> State:
        """Give an independent state that has read the first ``at`` tokens, all of them where None.

        Cheap: memory is shared until one of the two reads on.

        Raises:
            RangeError: ``at`` is below 0 or above ``length``, or below it where the decoder cannot rewind.
        """

    def close(self) -> None:
        """Give the memory back; closing again does nothing, reading or forking afterwards is an error."""


@dataclass(frozen=True)
class Read:
    """Tokens to be appended to a state.

    Attributes:
        state: grows by these tokens.
        tokens: at least one.
        wanted: of which of them the logits are needed; "none" suits the middle of a prompt.
        written: whether this is one token that the model itself wrote. A decoder may compute such tokens otherwise
            than those of a prompt, but each kind always alike, so that what stands beside it in a batch changes
            nothing.
    """

    state: State
    tokens: tuple[int, ...]
    wanted: Wanted = "last"
    written: bool = False


@runtime_checkable
class Decoder(Protocol):
    """A causal language model that reads batches of sequences.

    It is not thread-safe: one thread at a time calls ``read``, and forks or closes states.
    """

    @property
    def vocabulary(self) -> int:
        """Number of tokens, and of logits."""

    @property
    def window(self) -> int | None:
        """Most tokens that a state may hold; None where there is no limit."""

    @property
    def rewindable(self) -> bool:
        """Whether a fork may forget the last tokens of its original."""

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that ``start`` takes."""

    def start(self, adapter: str | None = None) -> State:
        """Give a state that has read nothing.

        Args:
            adapter: under which all its tokens will be read; None is the bare base.

        Raises:
            RangeError: there is no such adapter.
        """

    def read(self, reads: Sequence[Read]) -> list[Float[Tensor, "wanted vocabulary"]]:
        """Append tokens to states, as far as possible in one pass over the weights.

        Lengths and adapters may differ within a batch; no state may stand in it twice.

        Returns:
            For each read float32 logits: one row for "last", one a token for "all", none for "none".

        Raises:
            RangeError: a read is not allowed (see ``check_reads``); no state has read anything then.
        """


def check_reads(reads: Sequence[Read], *, vocabulary: int, window: int | None) -> None:
    """Refuse what no decoder may be asked for, before anything is read.

    Raises:
        RangeError: no tokens, a token outside the vocabulary, a full window, or one state twice.
    """
    states = {id(read.state) for read in reads}
    if len(states) != len(reads):
        raise RangeError(f"{len(reads)} reads of {len(states)} states: allowed is one read a state. Fork it first.")
    for read in reads:
        check_tokens(read.tokens, vocabulary)
        if read.written and len(read.tokens) > 1:
            raise RangeError(f"a written read of {len(read.tokens)} tokens: allowed is 1. Read them one after another.")
        after = read.state.length + len(read.tokens)
        if window is not None and after > window:
            raise RangeError(
                f"{read.state.length} tokens read and {len(read.tokens)} more pass the window of {window}. "
                "Give a shorter prompt or write fewer tokens."
            )


def check_fork(at: int | None, length: int) -> int:
    """Give how many tokens a fork is to have read, all of them where ``at`` is None.

    Raises:
        RangeError: it is not within what was read.
    """
    at = length if at is None else at
    if not 0 <= at <= length:
        raise RangeError(f"fork(at={at}) of a state of {length} tokens. Allowed: 0 to {length}.")
    return at


def closed_state() -> RangeError:
    """Say that a state was closed, to whoever reads or forks it."""
    return RangeError("the state was closed. Start or fork another one.")


def foreign_state(state: object) -> RangeError:
    """Say that a state belongs to another decoder, to whoever reads it."""
    return RangeError(
        f"a {type(state).__name__} of another decoder was given: allowed are states of this one. Call start."
    )


def check_tokens(tokens: Sequence[int], vocabulary: int) -> None:
    """Refuse an empty sequence and ids that are no tokens.

    Raises:
        RangeError: as it says.
    """
    if not tokens:
        raise RangeError("no tokens: at least 1 must be read.")
    low, high = min(tokens), max(tokens)
    if low < 0 or high >= vocabulary:
        raise RangeError(
            f"token {low if low < 0 else high}: allowed is 0 to {vocabulary - 1}. Use the tokenizer of this model."
        )


def check_adapter(adapter: str | None, adapters: Sequence[str]) -> None:
    """Refuse an adapter that is not there; None, the bare base, always is.

    Raises:
        RangeError: no such adapter.
    """
    if adapter is not None and adapter not in adapters:
        raise RangeError(f"adapter {adapter!r:.100} is not loaded. {did_you_mean(adapter, adapters)}")
