"""Which format a file is in, told from the keys of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from trimtab.train.data import dialogues, instructions
from trimtab.train.data.fields import Row
from trimtab.train.data.rows import Conversation

OASST_TREE = "OASST trees"
OASST_MESSAGES = "OASST messages"


@dataclass(frozen=True)
class Format:
    """A row format.

    Attributes:
        name: for people.
        matches: tells whether a row has this format's keys; says nothing about their values.
        read: gives a row's conversations, or raises BadRow; None where rows only make sense together.
        keys: what a row of this format looks like, for messages.
    """

    name: str
    matches: Callable[[Row], bool]
    read: Callable[[Row, str], list[Conversation]] | None
    keys: str


def _has(*keys: str) -> Callable[[Row], bool]:
    return lambda row: all(key in row for key in keys)


def _first_turn(row: Row, key: str) -> Row:
    turns = row.get(key)
    return turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], dict) else {}


def _is_sharegpt(row: Row) -> bool:
    return any(key in row and "role" not in _first_turn(row, key) for key in ("conversations", "conversation"))


def _is_unnatural(row: Row) -> bool:
    return "instruction" in row and "instruction_with_input" in _first_turn(row, "instances")


def _is_chip2(row: Row) -> bool:
    return dialogues.is_chip2_text(row.get("text"))


FORMATS = (
    Format(
        OASST_TREE, lambda row: isinstance(row.get("prompt"), dict), None, '{"prompt": {"text", "role", "replies"}}'
    ),
    Format(OASST_MESSAGES, _has("message_id", "role"), None, '{"message_id", "parent_id", "text", "role", "rank"}'),
    Format("chat messages", _has("messages"), dialogues.chat, '{"messages": [{"role", "content"}]}'),
    Format("ShareGPT", _is_sharegpt, dialogues.sharegpt, '{"conversations": [{"from", "value"}]}'),
    Format("chat messages", _has("conversations"), dialogues.chat, '{"conversations": [{"role", "content"}]}'),
    Format("HH-RLHF", _has("chosen"), dialogues.hh_rlhf, '{"chosen", "rejected"}'),
    Format("Unnatural Instructions", _is_unnatural, instructions.unnatural, '{"instruction", "instances"}'),
    Format(
        "Self-Instruct", _has("instruction", "instances"), instructions.self_instruct, '{"instruction", "instances"}'
    ),
    Format("alpaca", _has("instruction", "output"), instructions.alpaca, '{"instruction", "input", "output"}'),
    Format("Dolly", _has("instruction", "response"), instructions.dolly, '{"instruction", "context", "response"}'),
    Format("prompt and completion", _has("prompt", "completion"), instructions.completion, '{"prompt", "completion"}'),
    Format("FLAN", _has("inputs", "targets"), instructions.flan, '{"inputs", "targets"}'),
    Format("LongForm", _has("input", "output"), instructions.longform, '{"input", "output"}'),
    Format("Chip2", _is_chip2, dialogues.chip2, '{"text": "<human>: ... <bot>: ..."}'),
    Format("plain text", _has("text"), instructions.plain_text, '{"text"}'),
)
"""In the order in which they are tried: the narrower before the wider."""


def format_of(row: Row) -> Format | None:
    """Give the first format whose keys a row has."""
    return next((known for known in FORMATS if known.matches(row)), None)


def most_common(rows: Iterable[Row]) -> Format | None:
    """Give the format that most of the rows have, the first seen where two are as common."""
    found = Counter(known.name for row in rows if (known := format_of(row)))
    if not found:
        return None
    name = found.most_common(1)[0][0]
    return next(known for known in FORMATS if known.name == name)


def known_formats() -> str:
    """List what rows may look like, for messages."""
    return "; ".join(dict.fromkeys(f"{known.name} {known.keys}" for known in FORMATS))
