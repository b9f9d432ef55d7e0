"""Reads a source of rows into conversations, finding everything that is wrong with it before a run begins."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from trimtab.core.errors import DataError
from trimtab.store.durable import hash_file
from trimtab.store.resolve import HUB_PREFIX
from trimtab.train.data import formats, oasst
from trimtab.train.data.fields import kind_of
from trimtab.train.data.oasst import Paths
from trimtab.train.data.rows import BadRow, Conversation, Problem, Record, RowSet, refusal
from trimtab.train.data.settings import OnBadRow
from trimtab.train.data.sources import records_of

ROWS_LOOKED_AT = 100
"""The format of a source is the one that most of its first rows have."""


@dataclass
class _Found:
    conversations: list[Conversation] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def read_rows(source: str | Path, *, on_bad_row: OnBadRow = "stop", paths: Paths = "best") -> RowSet:
    """Read every row of a source and tell its format from the rows themselves.

    Args:
        source: a .jsonl, .json, .csv or .txt file, each also with .gz, a .parquet file, or
                ``hf:name[/config][:split]``.
        on_bad_row: "stop" raises when any row cannot be used; "skip" leaves such rows out and counts them.
        paths: of a tree of messages, the best-ranked path from each root ("best") or every path to a leaf ("all").

    Raises:
        DataError: rows cannot be used and that was not allowed, or no row is left; the first problems are listed.
        MissingError, UsageError, ResourceError: the source cannot be opened.
    """
    found, format_name = _read(records_of(source), paths)
    if found.problems and on_bad_row == "stop":
        raise refusal(found.problems, str(source))
    if not found.conversations:
        listed = "".join(f"\n  {problem}" for problem in found.problems[:3])
        raise DataError(f"{source}: no row can be used. Allowed rows: {formats.known_formats()}.{listed}")
    return RowSet(
        conversations=tuple(found.conversations),
        source=str(source),
        format=format_name,
        problems=tuple(found.problems),
        sha256=_sha256(source, found.conversations),
        notes=found.notes,
    )


def _sha256(source: str | Path, conversations: list[Conversation]) -> str:
    if not str(source).startswith(HUB_PREFIX):
        return hash_file(Path(source)).sha256
    digest = hashlib.sha256()
    for conversation in conversations:
        digest.update(repr(conversation).encode())
    return digest.hexdigest()


def _read(records: Iterator[Record | Problem], paths: Paths) -> tuple[_Found, str]:
    found = _Found()
    rows = _objects(records, found.problems)
    head = list(islice(rows, ROWS_LOOKED_AT))
    known = formats.most_common(record.value for record in head)
    if known is None:
        found.problems.extend(_unrecognised(record) for record in chain(head, rows))
        return found, "unknown"
    rows = _of_one_format(chain(head, rows), known, found.problems)
    if known.read is None:
        _grow(rows, known, paths, found)
    else:
        for record in rows:
            try:
                found.conversations.extend(known.read(record.value, record.place))
            except BadRow as problem:
                found.problems.append(problem.at(record.place))
    return found, known.name


def _objects(records: Iterator[Record | Problem], problems: list[Problem]) -> Iterator[Record]:
    for record in records:
        if isinstance(record, Problem):
            problems.append(record)
        elif not isinstance(record.value, dict):
            problems.append(Problem(record.place, "", f"{kind_of(record.value)} found, an object expected"))
        elif not record.value:
            problems.append(Problem(record.place, "", "an empty object found, a row with keys expected"))
        else:
            yield record


def _unrecognised(record: Record) -> Problem:
    keys = ", ".join(map(repr, list(record.value)[:8]))
    return Problem(record.place, "", f"a row with the keys {keys} found; allowed: {formats.known_formats()}")


def _of_one_format(rows: Iterator[Record], known: formats.Format, problems: list[Problem]) -> Iterator[Record]:
    for record in rows:
        other = formats.format_of(record.value)
        if other is None or other.name == known.name or known.matches(record.value):
            yield record
        else:
            what = (
                f"a row of format {other.name} found in a file of format {known.name}; put them in files of their own"
            )
            problems.append(Problem(record.place, "", what))


def _grow(rows: Iterator[Record], known: formats.Format, paths: Paths, found: _Found) -> None:
    grow = oasst.from_trees if known.name == formats.OASST_TREE else oasst.from_messages
    forest = grow(rows)
    found.problems.extend(forest.problems)
    found.conversations.extend(forest.conversations(paths))
    found.notes = forest.notes(len({conversation.place for conversation in found.conversations}))
