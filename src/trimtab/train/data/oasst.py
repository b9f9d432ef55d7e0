"""OASST trees: many replies to each message, of which a conversation follows one path."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from trimtab.train.data.dialogues import role_of
from trimtab.train.data.fields import Row, checked_text, kind_of, optional_text, present, text_at
from trimtab.train.data.rows import BadRow, Conversation, Problem, Record, Role, Turn

Paths: TypeAlias = Literal["best", "all"]

_UNRANKED = 1_000_000


@dataclass(slots=True)
class Message:
    """One message of a tree, with the replies to it."""

    place: str
    role: Role
    text: str
    rank: int
    deleted: bool
    replies: list[Message] = field(default_factory=list)


@dataclass(slots=True)
class Forest:
    """What was read of a set of trees, and what was left out on purpose."""

    roots: list[Message] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    orphans: int = 0

    def conversations(self, paths: Paths) -> Iterator[Conversation]:
        """Follow the best-ranked reply from each root ("best"), or give every path to a leaf ("all")."""
        for root in self.roots:
            found = [_answered(path) for path in _walk([root], best_only=paths == "best")]
            within = {id(message) for path in found for message in path[:-1]}
            ends: set[int] = set()
            for path in found:
                # A path whose last question nobody answered may be the beginning of another one.
                if path and id(path[-1]) not in within and id(path[-1]) not in ends:
                    ends.add(id(path[-1]))
                    yield Conversation(tuple(Turn(message.role, message.text) for message in path), root.place)

    def notes(self, used: int) -> tuple[str, ...]:
        """Say what was left out: deleted messages, replies to messages that are not there, unanswered questions."""
        deleted = sum(_count_deleted(root) for root in self.roots)
        unanswered = len(self.roots) - used
        counts = (
            (deleted, "deleted, left out with the replies to them"),
            (self.orphans, "not reachable from a root (the message they reply to is not in the file), left out"),
            (unanswered, "roots without an answer, left out"),
        )
        return tuple(f"OASST messages {what}: {count}." for count, what in counts if count)


def _answered(path: list[Message]) -> list[Message]:
    """Take the messages behind the last answer off a path."""
    last = max((index for index, message in enumerate(path) if message.role == "assistant"), default=-1)
    return path[: last + 1]


def _walk(path: list[Message], *, best_only: bool) -> Iterator[list[Message]]:
    stack = [path]
    while stack:
        path = stack.pop()
        if path[-1].deleted:
            yield path[:-1]
            continue
        replies = sorted((reply for reply in path[-1].replies if not reply.deleted), key=lambda reply: reply.rank)
        if not replies:
            yield path
        stack.extend([*path, reply] for reply in reversed(replies[:1] if best_only else replies))


def _count_deleted(root: Message) -> int:
    count, stack = 0, [root]
    while stack:
        message = stack.pop()
        count += message.deleted
        stack.extend(message.replies)
    return count


def _message(row: Row, place: str, *, where: str = "") -> Message:
    deleted = row.get("deleted") is True
    rank = row.get("rank")
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int | float)):
        raise BadRow(f"{where}rank", f"{kind_of(rank)} found, a number or null expected")
    try:
        role = role_of(present(row, "role"), "role")
        text = optional_text(row, "text") if deleted else text_at(row, "text")
    except BadRow as problem:
        raise BadRow(f"{where}{problem.field}", problem.what) from None
    return Message(place, role, text, _UNRANKED if rank is None or not math.isfinite(rank) else int(rank), deleted)


def from_messages(records: Iterable[Record]) -> Forest:
    """Link flat messages by ``parent_id``; a reply may stand before what it replies to."""
    forest = Forest()
    by_id: dict[str, tuple[Message, str | None]] = {}
    for record in records:
        try:
            identity, parent = _identity(record.value)
            if identity in by_id:
                raise BadRow("message_id", f"{identity!r} found again; it was read at {by_id[identity][0].place}")
            by_id[identity] = (_message(record.value, record.place), parent)
        except BadRow as problem:
            forest.problems.append(problem.at(record.place))
    for message, parent in by_id.values():
        if parent is None:
            forest.roots.append(message)
        elif parent in by_id:
            by_id[parent][0].replies.append(message)
    forest.orphans = len(by_id) - sum(map(_size, forest.roots))
    return forest


def _identity(row: Row) -> tuple[str, str | None]:
    parent = row.get("parent_id")
    if parent is not None and not (isinstance(parent, float) and parent != parent):
        return text_at(row, "message_id"), checked_text(parent, "parent_id", may_be_empty=True) or None
    return text_at(row, "message_id"), None


def _size(root: Message) -> int:
    count, stack = 0, [root]
    while stack:
        count += 1
        stack.extend(stack.pop().replies)
    return count


def from_trees(records: Iterable[Record]) -> Forest:
    """Read one tree a row: ``{"prompt": {..., "replies": [...]}}``."""
    forest = Forest()
    for record in records:
        try:
            forest.roots.append(_tree(present(record.value, "prompt"), record.place))
        except BadRow as problem:
            forest.problems.append(problem.at(record.place))
    return forest


def _tree(value: object, place: str) -> Message:
    if not isinstance(value, dict):
        raise BadRow("prompt", f"{kind_of(value)} found, an object expected")
    root = _message(value, place, where="prompt.")
    stack: list[tuple[Row, Message, str]] = [(value, root, "prompt")]
    while stack:
        row, message, where = stack.pop()
        replies = row.get("replies") or []
        if not isinstance(replies, list):
            raise BadRow(f"{where}.replies", f"{kind_of(replies)} found, a list of messages expected")
        for index, reply in enumerate(replies):
            here = f"{where}.replies[{index}]"
            if not isinstance(reply, dict):
                raise BadRow(here, f"{kind_of(reply)} found, an object expected")
            message.replies.append(_message(reply, place, where=f"{here}."))
            stack.append((reply, message.replies[-1], here))
    return root
