"""Rows that hold turns: chat messages, ShareGPT, HH-RLHF and Chip2."""

from __future__ import annotations

import re

from trimtab.train.data.fields import Row, checked_text, kind_of, objects, present, text_at
from trimtab.train.data.rows import BadRow, Conversation, Role, Turn

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "observation": "tool",
}

_HH_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_CHIP2_SPEAKER = re.compile(r"(?:^|\n)<(human|bot)>:")


def role_of(value: object, field: str) -> Role:
    """Give the role that a data set's own word stands for."""
    name = value.lower() if isinstance(value, str) else ""
    if name not in _ROLES:
        found = repr(value) if isinstance(value, str) else kind_of(value)
        raise BadRow(field, f"unknown role {found}; allowed: {', '.join(_ROLES)}")
    return _ROLES[name]


def chat(row: Row, place: str) -> list[Conversation]:
    """Read ``{"messages": [{"role", "content"}, ...]}``."""
    key = (
        "messages"
        if "messages" in row
        else next((k for k in ("conversations", "conversation") if k in row), "messages")
    )
    return [Conversation(turns_from(present(row, key), key, names=("role", "content")), place)]


def sharegpt(row: Row, place: str) -> list[Conversation]:
    """Read ``{"conversations": [{"from", "value"}, ...]}``, with an optional "system" beside it."""
    key = "conversation" if "conversation" in row else "conversations"
    turns = turns_from(present(row, key), key, names=("from", "value"))
    if row.get("system") and turns[0].role != "system":
        turns = (Turn("system", text_at(row, "system")), *turns)
    return [Conversation(turns, place)]


def turns_from(value: object, field: str, *, names: tuple[str, str]) -> tuple[Turn, ...]:
    """Read a list of turns whose role and content stand under the two names."""
    role_key, content_key = names
    turns = []
    for index, entry in enumerate(objects(value, field)):
        here = f"{field}[{index}]"
        for key in names:
            if key not in entry:
                raise BadRow(
                    f"{here}.{key}", f"missing; the turn has {', '.join(map(repr, list(entry)[:8])) or 'no keys'}"
                )
        role = role_of(entry[role_key], f"{here}.{role_key}")
        turns.append(Turn(role, _content(entry[content_key], f"{here}.{content_key}", role=role)))
    return with_assistant(tuple(turns), field)


def _content(value: object, field: str, *, role: Role) -> str:
    if isinstance(value, list):
        value = "".join(_text_part(part, f"{field}[{index}]") for index, part in enumerate(value))
    return checked_text(value, field, may_be_empty=role == "system")


def _text_part(part: object, field: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text":
        return checked_text(part.get("text"), f"{field}.text", may_be_empty=True)
    raise BadRow(field, 'a part that is no text found; a language model reads parts of type "text" only')


def with_assistant(turns: tuple[Turn, ...], field: str) -> tuple[Turn, ...]:
    """Refuse turns among which there is nothing to learn."""
    if not any(turn.role == "assistant" for turn in turns):
        raise BadRow(field, f"no assistant turn among {len(turns)}; there is nothing to learn from the row")
    return turns


def hh_rlhf(row: Row, place: str) -> list[Conversation]:
    """Read the "chosen" dialogue of a preference pair: text with Human and Assistant turns, or a list of messages."""
    chosen = present(row, "chosen")
    if isinstance(chosen, list):
        return [Conversation(turns_from(chosen, "chosen", names=("role", "content")), place)]
    return [Conversation(_spoken(checked_text(chosen, "chosen"), _HH_SPEAKER, "chosen"), place)]


def chip2(row: Row, place: str) -> list[Conversation]:
    """Read ``{"text": "<human>: ...\\n<bot>: ..."}``."""
    return [Conversation(_spoken(text_at(row, "text"), _CHIP2_SPEAKER, "text"), place)]


def is_chip2_text(value: object) -> bool:
    """Tell whether a text starts as Chip2 rows do."""
    return isinstance(value, str) and value.lstrip().startswith("<human>:")


def _spoken(text: str, speaker: re.Pattern[str], field: str) -> tuple[Turn, ...]:
    marks = list(speaker.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        raise BadRow(field, f"text that does not begin with a speaker found; {speaker.pattern!r} is expected")
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    turns = []
    for index, (mark, end) in enumerate(zip(marks, ends, strict=True)):
        content = checked_text(text[mark.end() : end].strip(), f"{field} (turn {index + 1})")
        turns.append(Turn(role_of(mark.group(1), field), content))
    return with_assistant(tuple(turns), field)
