"""The example rows that ship are read without a word of complaint."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.train.data import read_rows

EXAMPLES = Path(__file__).parents[3] / "examples" / "data"


@pytest.mark.parametrize(("name", "format_name"), [("chat.jsonl", "chat messages"), ("alpaca.jsonl", "alpaca")])
def test_example_rows_are_read(name: str, format_name: str) -> None:
    rows = read_rows(EXAMPLES / name)
    assert (rows.format, len(rows)) == (format_name, 8)
