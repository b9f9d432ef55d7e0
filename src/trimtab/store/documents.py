"""Reading small JSON files without trusting them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import FormatError

MAX_DEPTH: Final = 100
"""Levels of objects and lists; what is read here has a handful, and those who walk through it recurse."""


def read_object(path: Path, *, most_bytes: int, remedy: str = "") -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: of a file that exists.
        most_bytes: a larger file is not opened.
        remedy: what to do where it is refused, as a sentence.

    Raises:
        FormatError: it is too large, unreadable, no JSON, nested too deep, or holds no object or a number that no float
            can hold.
    """
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise FormatError(path, f"has {size} bytes; {most_bytes} are the most", remedy=remedy)
        document = json.loads(path.read_text(encoding="utf-8"), parse_int=_whole)
    except OSError as error:
        raise FormatError(path, f"cannot be read ({error.strerror})", remedy=remedy) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"is no JSON ({error!s:.80})", remedy=remedy) from error
    if not isinstance(document, dict):
        raise FormatError(path, "is no JSON object", remedy=remedy)
    if _is_deeper(document, MAX_DEPTH):
        raise FormatError(path, f"is nested more than {MAX_DEPTH} levels deep", remedy=remedy)
    return document


def _whole(digits: str) -> int:
    number = int(digits)
    if abs(number) > sys.float_info.max:
        raise ValueError(f"a number has {len(digits.removeprefix('-'))} digits")
    return number


def _is_deeper(document: Any, levels: int) -> bool:
    """Tell whether there is anything below so many levels; without recursion, so that nothing can be too deep."""
    here: list[Any] = [document]
    for _ in range(levels):
        below = (list(item.values()) if isinstance(item, dict) else item for item in here)
        here = [item for items in below for item in items if isinstance(item, dict | list)]
        if not here:
            return False
    return True
