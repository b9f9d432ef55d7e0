"""JSON from strangers: one object, nothing ambiguous in it, not deeper than anybody needs."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

from trimtab.serve.api_error import ApiError

MAX_DEPTH: Final = 64
REMEDY: Final = "Send one JSON object in UTF-8."


def parse_object(body: bytes) -> dict[str, Any]:
    """Read a JSON object; refuse what JSON leaves open: keys that come twice, numbers without end, broken text.

    Raises:
        ApiError: 400, with what was found.
    """
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise _refusal(f"is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise _refusal(f"is nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise _refusal(f"is no JSON ({error!s:.200})") from error
    if not isinstance(document, dict):
        raise _refusal(f"is a JSON {type(document).__name__}, not an object")
    _check_inside(document)
    return document


def _refusal(problem: str) -> ApiError:
    return ApiError(400, f"the body {problem}. {REMEDY}", code="invalid_json")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r:.80} comes twice")
    return document


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is too large a number")
    return value


def _check_inside(document: dict[str, Any]) -> None:
    """Walk without recursion; refuse depth, and halves of surrogate pairs, which no tokenizer takes."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, str):
                _check_text(value)
        level = below
        if not level:
            return
    raise _refusal(f"is nested deeper than {MAX_DEPTH} levels")


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _refusal("holds half of a surrogate pair") from error
