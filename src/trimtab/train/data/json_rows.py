"""Rows of JSON Lines and of JSON documents, each with the line on which it begins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trimtab.train.data.fields import kind_of
from trimtab.train.data.formats import format_of
from trimtab.train.data.lines import Line, read_document, read_lines
from trimtab.train.data.rows import ROW_LIMIT_BYTES, BadRow, Problem, Record

_SPACE = re.compile(r"[ \t\r\n]*")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadRow(twice, "the key stands twice in one object; which one counts? Remove the other")
    return row


_decoder = json.JSONDecoder(object_pairs_hook=_unique)
_lenient = json.JSONDecoder()


def jsonl_records(path: Path) -> Iterator[Record | Problem]:
    """Read one object a line; lines with nothing on them are passed over."""
    for line in read_lines(path):
        yield line if isinstance(line, Problem) else _parsed(line)


def _parsed(line: Line) -> Record | Problem:
    try:
        return Record(line.place, _decoder.decode(line.text))
    except BadRow as problem:
        return problem.at(line.place)
    except json.JSONDecodeError as error:
        return Problem(line.place, "", _no_json(error, line.text, cut_off=not line.ended))
    except (RecursionError, ValueError) as error:
        return Problem(line.place, "", f"JSON that cannot be read ({error}); one flat object a line is expected")


def _no_json(error: json.JSONDecodeError, text: str, *, cut_off: bool) -> str:
    if cut_off:
        return f"the last line stops after {len(text)} characters in the middle of a row; the file was cut off"
    near = text[max(0, error.pos - 10) : error.pos + 10]
    return f"no JSON: {error.msg} at character {error.pos + 1}, near {near!r}; one object a line is expected"


def json_records(path: Path) -> Iterator[Record | Problem]:
    """Read an array of rows, an object that holds one, a single row, or rows one after another."""
    text = read_document(path)
    scan = _Scan(path, text)
    try:
        yield from scan.rows()
    except BadRow as problem:
        yield problem.at(scan.place())
    except json.JSONDecodeError as error:
        what = "the document stops in the middle of a row; the file was cut off"
        if error.pos < len(text.rstrip()) and not error.msg.startswith("Unterminated"):
            near = text[max(0, error.pos - 10) : error.pos + 10]
            what = f"no JSON: {error.msg}, near {near!r}; correct it here, nothing after this place was read"
        yield Problem(f"{path}:{1 + text.count(chr(10), 0, error.pos)}", "", what)
    except (RecursionError, ValueError) as error:
        what = f"JSON that cannot be read ({error}); flat objects are expected, and nothing after this place was read"
        yield Problem(scan.place(), "", what)


class _Scan:
    """A position in a document that knows its line."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.position = self.counted = 0
        self.line = 1

    def place(self) -> str:
        self.line += self.text.count("\n", self.counted, self.position)
        self.counted = self.position
        return f"{self.path}:{self.line}"

    def peek(self) -> str:
        space = _SPACE.match(self.text, self.position)
        self.position = space.end() if space else self.position
        return self.text[self.position : self.position + 1]

    def take(self, allowed: str) -> str:
        found = self.peek()
        if not found or found not in allowed:
            raise json.JSONDecodeError(f"one of {' '.join(allowed)} expected", self.text, self.position)
        self.position += 1
        return found

    def value(self) -> Any:
        self.peek()
        value, self.position = _lenient.raw_decode(self.text, self.position)
        return value

    def rows(self) -> Iterator[Record | Problem]:
        if not self.peek():
            return
        if self.peek() == "[":
            yield from self.array()
        else:
            yield from self.objects()
        if self.peek():
            raise json.JSONDecodeError("something after the end of the rows", self.text, self.position)

    def array(self) -> Iterator[Record | Problem]:
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.row()
            if self.take(",]") == "]":
                return

    def row(self) -> Record | Problem:
        self.peek()
        place, start = self.place(), self.position
        try:
            value, self.position = _decoder.raw_decode(self.text, start)
        except BadRow as problem:
            self.value()  # goes on behind the row
            return problem.at(place)
        if self.position - start > ROW_LIMIT_BYTES:
            found = f"a row of {self.position - start} characters found"
            return Problem(place, "", f"{found}; rows of at most {ROW_LIMIT_BYTES} are allowed")
        return Record(place, value)

    def objects(self) -> Iterator[Record | Problem]:
        while self.peek() not in ("", "["):
            start = self.position
            key = _rows_key(self.value())
            if key is None:
                self.position = start
                yield self.row()
                continue
            end, self.position = self.position, self.text.index("{", start) + 1
            while self.value() != key:
                self.take(":")
                self.value()
                self.take(",")
            self.take(":")
            yield from self.array()
            self.position = end


def _rows_key(value: Any) -> str | None:
    """Name the one key of a document under which its rows lie, where the document is not itself a row."""
    if not isinstance(value, dict):
        raise BadRow("", f"{kind_of(value)} found, an array of objects expected")
    if format_of(value):
        return None
    lists = [key for key, entry in value.items() if isinstance(entry, list) and entry and isinstance(entry[0], dict)]
    return lists[0] if len(lists) == 1 else None
