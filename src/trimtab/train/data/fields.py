"""Looks a row's values up by key and says exactly what is wrong with them."""

from __future__ import annotations

from typing import Any, TypeAlias

from trimtab.train.data.rows import BadRow

Row: TypeAlias = dict[str, Any]


def kind_of(value: object) -> str:
    """Name the type of a JSON value as a person would."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names: tuple[tuple[type, str], ...] = ((str, "text"), (int, "a number"), (float, "a number"), (list, "a list"))
    for python_type, name in names:
        if isinstance(value, python_type):
            return name
    return "an object" if isinstance(value, dict) else f"a value of type {type(value).__name__}"


def checked_text(value: object, field: str, *, may_be_empty: bool = False) -> str:
    """Give a value that is usable text.

    Raises:
        BadRow: it is not text, it is empty, or it holds NUL or bytes that are no Unicode.
    """
    if not isinstance(value, str):
        raise BadRow(field, f"{kind_of(value)} found, text expected")
    if not may_be_empty and not value.strip():
        raise BadRow(field, "empty, text expected")
    if "\0" in value:
        raise BadRow(field, f"a NUL character found at position {value.index(chr(0))}, plain text expected")
    if not value.isascii() and (position := _first_surrogate(value)) is not None:
        raise BadRow(field, f"bad UTF-8 or half a surrogate pair found at position {position}, Unicode text expected")
    return value


def _first_surrogate(value: str) -> int | None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def text_at(row: Row, key: str, *, may_be_empty: bool = False) -> str:
    """Give the text under a key that must be there."""
    return checked_text(present(row, key), key, may_be_empty=may_be_empty)


def optional_text(row: Row, key: str) -> str:
    """Give the text under a key, or an empty text where the key is absent or null."""
    value = row.get(key)
    return "" if value is None else checked_text(value, key, may_be_empty=True)


def present(row: Row, key: str) -> Any:
    """Give the value under a key that must be there."""
    if key not in row:
        found = ", ".join(repr(name) for name in list(row)[:8]) or "no keys"
        raise BadRow(key, f"missing; the row has {found}")
    return row[key]


def objects(value: object, field: str) -> list[Row]:
    """Give a value that is a list of objects with at least one entry."""
    if not isinstance(value, list):
        raise BadRow(field, f"{kind_of(value)} found, a list of objects expected")
    if not value:
        raise BadRow(field, "an empty list found, at least one entry expected")
    for index, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise BadRow(f"{field}[{index}]", f"{kind_of(entry)} found, an object expected")
    return value
