"""Progress events: the one stream that the terminal bar, ``--json``, a browser and the tests all read.

Long work is a *job*: an iterator of these events whose state is saved as it goes, so that running the same command
again continues it. A job yields events and never prints.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, TypeAlias


@dataclass(frozen=True)
class Event:
    """Something that happened; ``name`` is the value of the key "event" in the JSON form."""

    name: ClassVar[str] = "event"

    def to_json(self) -> dict[str, Any]:
        """Give the event as one JSON object."""
        return {"event": self.name, **asdict(self)}


@dataclass(frozen=True)
class Started(Event):
    """Work begins; ``out`` is where it will write, empty where it writes nothing."""

    name: ClassVar[str] = "started"
    what: str
    out: str = ""


@dataclass(frozen=True)
class Progress(Event):
    """``done`` of ``total`` units are finished; ``values`` holds what was measured (loss, tokens_per_s, ...)."""

    name: ClassVar[str] = "progress"
    what: str
    done: float
    total: float
    unit: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Note(Event):
    """A sentence for the person who watches; ``kind`` is "info", "warning" or "heading"."""

    name: ClassVar[str] = "note"
    text: str
    kind: str = "info"


@dataclass(frozen=True)
class Saved(Event):
    """A file or folder is complete on disk."""

    name: ClassVar[str] = "saved"
    what: str
    path: str


@dataclass(frozen=True)
class Table(Event):
    """Rows for a person to read; every row has one value per column."""

    name: ClassVar[str] = "table"
    title: str
    columns: list[str]
    rows: list[list[Any]]


@dataclass(frozen=True)
class Result(Event):
    """The last event of a job; its values stand beside "event" in the JSON form."""

    name: ClassVar[str] = "result"
    values: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Give the values at the top level, as other programs rely on."""
        return {"event": self.name, **self.values}


Job: TypeAlias = Iterator[Event]


def result_of(job: Job) -> dict[str, Any]:
    """Run a job to its end and give the values of its result."""
    values: dict[str, Any] = {}
    for event in job:
        if isinstance(event, Result):
            values = event.values
    return values


def without_result(job: Job) -> Generator[Event, None, dict[str, Any]]:
    """Pass on the events of a job that is a part of another; its result's values are what ``yield from`` gives."""
    values: dict[str, Any] = {}
    for event in job:
        if isinstance(event, Result):
            values = event.values
        else:
            yield event
    return values
