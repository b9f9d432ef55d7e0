"""How the scripts of this folder print what they measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = (), *, digits: int | None = None) -> None:
    """Print rows as a Markdown table.

    Args:
        rows: one mapping a line.
        columns: keys, in order; all of the first row's where empty.
        digits: after the point of every fraction; as Python writes it where None.
    """
    columns = columns or list(rows[0])
    print("| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns))
    for row in rows:
        print("| " + " | ".join(_cell(row[column], digits) for column in columns) + " |", flush=True)


def _cell(value: Any, digits: int | None) -> str:
    return f"{value:.{digits}f}" if isinstance(value, float) and digits is not None else str(value)
