"""Rows of CSV files, whose cells may run over several lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from trimtab.train.data.lines import read_lines
from trimtab.train.data.rows import ROW_LIMIT_BYTES, Problem, Record


class _Lines(Iterator[str]):
    """The lines of a file as ``csv`` takes them; knows where the row at hand begins and which lines are no text.

    Attributes:
        place: of the row at hand.
        torn: a line of the row at hand that is no text; None where all are.
        problems: lines between rows that are no text.
    """

    def __init__(self, path: Path) -> None:
        self._lines = read_lines(path, blank=True)
        self._begun = False
        self.place = f"{path}:1"
        self.torn: Problem | None = None
        self.problems: list[Problem] = []

    def begin_row(self) -> None:
        self._begun, self.torn = False, None

    def __next__(self) -> str:
        for line in self._lines:
            if isinstance(line, Problem):
                self._pass_over(line)
            elif self._begun:
                return line.text + "\n"
            elif line.text.strip(" \t"):
                self.place, self._begun = line.place, True
                return line.text + "\n"
        raise StopIteration

    def _pass_over(self, line: Problem) -> None:
        if self._begun:
            self.torn = self.torn or line
        else:
            self.problems.append(line)


def csv_records(path: Path) -> Iterator[Record | Problem]:
    """Read a table whose first row names the columns; every cell is text."""
    csv.field_size_limit(ROW_LIMIT_BYTES)
    lines = _Lines(path)
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    while (row := _next_row(reader, lines)) is not None:
        if isinstance(row, Problem):
            yield row
        elif header is not None:
            yield _record(header, row, lines.place)
        else:
            header = [name.strip() for name in row]
            if repeated := sorted({name for name in header if header.count(name) > 1}):
                yield Problem(lines.place, repeated[0], "named twice in the header; every column needs its own name")
                return
    yield from lines.problems


def _next_row(reader: Iterator[list[str]], lines: _Lines) -> list[str] | Problem | None:
    lines.begin_row()
    try:
        row: list[str] | Problem | None = next(reader, None)
    except csv.Error as error:
        row = Problem(lines.place, "", f"no CSV row ({error}); check the quotes and commas")
    if lines.torn is not None:
        number = lines.torn.place.rpartition(":")[2]
        return Problem(lines.place, "", f"line {number} of this row is no text: {lines.torn.what}")
    return row


def _record(header: list[str], cells: list[str], place: str) -> Record | Problem:
    if len(cells) == len(header):
        return Record(place, dict(zip(header, cells, strict=True)))
    found = f"{len(cells)} cells found, {len(header)} expected ({', '.join(header)})"
    return Problem(place, "", f"{found}; put text with commas or line ends in quotes")
