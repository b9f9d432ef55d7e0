"""The measurements of a training run, read while they are being written."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from trimtab.serve.run_files import inside, parsed
from trimtab.train.metrics import FILE_NAME as METRICS_NAME

CURVE_POINTS: Final = 64
MOST_ROWS: Final = 4000
MEASURED: Final = ("lr", "elapsed_s", "tokens_per_s", "memory_bytes")


@dataclass(frozen=True)
class Rows:
    """A part of a run's measurements.

    Attributes:
        rows: in the order of the file.
        next: the line to ask from next time.
        version: changes when the file was written anew, as a run that is taken up does; lines then count from 0.
        more: whether there are further rows already.
    """

    rows: Sequence[Mapping[str, Any]]
    next: int
    version: str
    more: bool


def read_rows(folder: Path, *, after: int = 0) -> Rows:
    """Read measurements from a line on; a last line without its end is still being written, and waits.

    Args:
        folder: of the run.
        after: how many lines to leave out.
    """
    path = inside(folder, METRICS_NAME)
    if path is None:
        return Rows([], 0, "", False)
    with path.open("rb") as file:
        version = f"{os.fstat(file.fileno()).st_ino:x}"
        lines = file.read().split(b"\n")[:-1]
    start = min(after, len(lines))
    part = lines[start : start + MOST_ROWS]
    rows = [row for row in map(parsed, part) if _is_row(row)]
    end = start + len(part)
    return Rows(rows, end, version, end < len(lines))


def measured(folder: Path) -> dict[str, Any]:
    """Give the last measurements of a run and a short curve of its loss."""
    path = inside(folder, METRICS_NAME)
    if path is None:
        return _summed([])
    status = path.stat()
    return dict(_measured(path, status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=256)
def _measured(path: Path, *_: int) -> dict[str, Any]:
    """Read a file of measurements, once for each state of it."""
    return _summed(path.read_bytes().split(b"\n")[:-1])


def _summed(lines: Sequence[bytes]) -> dict[str, Any]:
    """Sum up, parsing few of the lines of a long run: a list is asked for often."""
    evaluated = _rows_with("eval_loss", [line for line in lines if b'"eval_loss"' in line])
    trained = [line for line in lines if b'"loss"' in line]
    stride = max(1, math.ceil(len(trained) / CURVE_POINTS))
    curve = _rows_with("loss", [*trained[:-1:stride], *trained[-1:]])
    last = curve[-1] if curve else {}
    return {
        "step": last.get("step", 0),
        "loss": last.get("loss"),
        "eval_loss_before": next((row["eval_loss"] for row in evaluated if row["step"] == 0), None),
        "eval_loss": evaluated[-1]["eval_loss"] if evaluated else None,
        "curve": [[row["step"], row["loss"]] for row in curve],
        **{key: last.get(key) for key in MEASURED},
    }


def _rows_with(key: str, lines: Sequence[bytes]) -> list[dict[str, Any]]:
    return [row for row in map(parsed, lines) if _is_row(row) and isinstance(row.get(key), int | float)]


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("step"), int)
