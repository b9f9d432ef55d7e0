"""Opens files of rows and gives their lines, each with its number, without ever holding more than one."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from trimtab.core.errors import FormatError
from trimtab.train.data.rows import ROW_LIMIT_BYTES, Problem

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

DOCUMENT_LIMIT_BYTES = 2**30
"""A JSON document is held in memory whole; a larger one belongs in a JSONL file."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text without its end; ``ended`` is False for a last line that has none."""

    place: str
    text: str
    ended: bool


def opened(path: Path) -> BufferedIOBase:
    """Open a file for reading bytes, unpacking ``.gz``."""
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def read_lines(path: Path, *, blank: bool = False) -> Iterator[Line | Problem]:
    """Give every line that holds anything; a line that is no text is a problem, and reading goes on after it.

    Args:
        path: of the file.
        blank: give blank lines too.
    """
    number = 0
    with opened(path) as file:
        while True:
            number += 1
            place = f"{path}:{number}"
            try:
                raw = file.readline(ROW_LIMIT_BYTES + 1)
                beyond = _skip_rest(file) if len(raw) > ROW_LIMIT_BYTES and not raw.endswith(b"\n") else 0
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                yield Problem(place, "", f"the compressed file is damaged or cut off here ({error}); copy it again")
                return
            if not raw:
                return
            if len(raw) > ROW_LIMIT_BYTES:
                yield _too_large(place, len(raw) + beyond)
            elif blank or raw.strip(b" \t\r\n" + (BYTE_ORDER_MARK if number == 1 else b"")):
                yield _decoded(raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw, place)


def _skip_rest(file: BufferedIOBase) -> int:
    skipped = 0
    while piece := file.readline(ROW_LIMIT_BYTES):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def _too_large(place: str, size_bytes: int) -> Problem:
    allowed = f"rows of at most {ROW_LIMIT_BYTES} bytes are allowed"
    return Problem(place, "", f"a row of {size_bytes} bytes found; {allowed}. Are line ends missing?")


def _decoded(raw: bytes, place: str) -> Line | Problem:
    if b"\0" in raw:
        hint = "; the file looks like UTF-16, save it as UTF-8" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        return Problem(place, "", f"a NUL byte found at byte {raw.index(0)}, UTF-8 text expected{hint}")
    try:
        return Line(place, raw.decode().rstrip("\r\n"), raw.endswith(b"\n"))
    except UnicodeDecodeError as error:
        found = f"bad UTF-8 found at byte {error.start} (0x{raw[error.start]:02x})"
        return Problem(place, "", f"{found}; UTF-8 expected: save the file in that encoding")


def read_document(path: Path) -> str:
    """Give a whole file as text; bytes that are no UTF-8 become lone surrogates, which the row that holds them fails.

    Raises:
        FormatError: the file is larger than a document may be, or its compression is damaged.
    """
    try:
        with opened(path) as file:
            raw = file.read(DOCUMENT_LIMIT_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FormatError(
            path, f"the compressed file is damaged or cut off ({error})", remedy="Copy it again."
        ) from error
    if len(raw) > DOCUMENT_LIMIT_BYTES:
        problem = f"a JSON document of more than {DOCUMENT_LIMIT_BYTES} bytes found"
        raise FormatError(path, problem, remedy="Save it as .jsonl, one row a line, which is read line by line.")
    return raw.removeprefix(BYTE_ORDER_MARK).decode(errors="surrogateescape")
