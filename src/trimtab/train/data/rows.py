"""The records of a data set: turns, conversations, and what is wrong with a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from trimtab.core.errors import DataError

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]

ROW_LIMIT_BYTES = 10 * 2**20
"""A longer row is refused: it is a file that lost its line ends, not something to learn from."""

PROBLEMS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker said."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One thing to learn from: turns, or running text.

    Attributes:
        turns: in order, at least one of them the assistant's; empty where ``text`` is set.
        place: where it was read, as ``file:line``.
        prompt: what stands before the last turn for a model that has no chat template; empty where the data set
            has no wording of its own.
        text: running text, every token of which is learnt.
    """

    turns: tuple[Turn, ...]
    place: str
    prompt: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One row as parsed, before anybody knows what it means."""

    place: str
    value: Any


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot be used.

    Attributes:
        place: ``file:line``.
        field: the key within the row, as in ``messages[2].role``; empty for the row as a whole.
        what: what was found, and what is expected.
    """

    place: str
    field: str
    what: str

    def __str__(self) -> str:
        """Give ``file:line:field: what``."""
        return f"{self.place}:{self.field}: {self.what}" if self.field else f"{self.place}: {self.what}"


class BadRow(DataError):
    """Raised while one row is looked at; the reader turns it into a ``Problem`` with the row's place."""

    def __init__(self, field: str, what: str) -> None:
        """State the field and what is wrong with it."""
        super().__init__(what)
        self.field = field
        self.what = what

    def at(self, place: str) -> Problem:
        """Give the problem with its place."""
        return Problem(place, self.field, self.what)


@dataclass(frozen=True)
class RowSet:
    """The usable rows of a source, and an account of the others.

    Attributes:
        conversations: in the source's order.
        source: as it was named.
        format: the detected format, as in "alpaca" or "chat messages".
        problems: one for every row that cannot be used.
        sha256: of the source's bytes as they lie on disk.
        notes: sentences for the person who trains (what was left out on purpose).
    """

    conversations: tuple[Conversation, ...]
    source: str
    format: str
    problems: tuple[Problem, ...]
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def skipped(self) -> int:
        """Count the rows left out because of a problem."""
        return len({problem.place for problem in self.problems})

    def __len__(self) -> int:
        """Count the conversations."""
        return len(self.conversations)

    def __iter__(self) -> Iterator[Conversation]:
        """Give the conversations in order."""
        return iter(self.conversations)


def refusal(problems: Sequence[Problem], source: str) -> DataError:
    """Make the error that lists the first problems, counts all of them and says what to do."""
    count = len(problems)
    shown = [f"  {problem}" for problem in problems[:PROBLEMS_SHOWN]]
    rest = [f"  ... and {count - PROBLEMS_SHOWN} more"] if count > PROBLEMS_SHOWN else []
    head = f"{source}: {count} {'row' if count == 1 else 'rows'} cannot be used, so nothing was trained:"
    remedy = "Correct them, or leave them out with --on-bad-row skip."
    return DataError("\n".join([head, *shown, *rest, remedy]))
