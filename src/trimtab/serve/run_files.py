"""Single files of a run folder: never by a link that leads out, never more than fits a page, damaged or not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

MOST_DOCUMENT_BYTES: Final = 1 << 20


def inside(folder: Path, name: str) -> Path | None:
    """Give a file of a run folder, or None where there is none or where it is a link that leads out."""
    path = folder / name
    return path if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None


def document(folder: Path, name: str) -> str:
    """Read a small file; nothing where it is absent or large."""
    path = inside(folder, name)
    if path is None or path.stat().st_size > MOST_DOCUMENT_BYTES:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def parsed(text: str | bytes) -> Any:
    """Read JSON as the standard has it, without NaN; None for what is none."""
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        return None


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(word)
    return number
