"""What the folders of training runs say, read while they are being written and never changed."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from trimtab.core.errors import MissingError, did_you_mean
from trimtab.store.lock import LOCK_NAME
from trimtab.train.metrics import FILE_NAME as METRICS_NAME
from trimtab.train.questions import FILE_NAME as ANSWERS_NAME
from trimtab.train.questions import read_answers
from trimtab.train.report.page import REPORT_NAME
from trimtab.train.run import PLAN_NAME
from trimtab.train.work import ADAPTER, MODEL

State = Literal["running", "finished", "stopped", "empty"]

CONFIG_NAME: Final = "config.toml"
MARKS: Final = (METRICS_NAME, CONFIG_NAME, PLAN_NAME)
"""A folder with one of these is a run."""
CURVE_POINTS: Final = 64
MOST_ROWS: Final = 4000
MOST_DOCUMENT_BYTES: Final = 1 << 20
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


class RunFolders:
    """The runs directly below one folder. Names are looked up in its listing; links that lead out are not there."""

    def __init__(self, root: Path) -> None:
        """Choose the folder; it may be absent, and appear later."""
        self.root = root

    def names(self) -> list[str]:
        """Give the runs, the last changed first."""
        try:
            folders = [entry for entry in self.root.iterdir() if entry.is_dir() and _is_run(entry, self.root)]
        except OSError:
            return []
        return [folder.name for folder in sorted(folders, key=_changed, reverse=True)]

    def find(self, name: str) -> Path:
        """Give the folder of a run.

        Raises:
            MissingError: no run has this name.
        """
        names = self.names()
        if name not in names:
            raise MissingError(f"no run {name[:80]!r} here. {did_you_mean(name[:80], names)}")
        return self.root / name

    def summary(self, name: str) -> dict[str, Any]:
        """Give the line of a list: name, state, steps, losses, times, and a short curve."""
        folder = self.find(name)
        config = read_config(folder)
        return {
            "name": name,
            "state": state_of(folder),
            "method": config.get("method"),
            "steps": config.get("steps") or None,
            "time_limit_s": config.get("time_limit_s") or None,
            "started": _modified(inside(folder, PLAN_NAME) or inside(folder, CONFIG_NAME)),
            "updated": _changed(folder),
            "report": inside(folder, REPORT_NAME) is not None,
            **measured(folder),
        }

    def detail(self, name: str) -> dict[str, Any]:
        """Give all that a run folder says besides its measurements."""
        folder = self.find(name)
        return {
            **self.summary(name),
            "config": read_config(folder),
            "plan": read_plan(folder),
            "answers": answers_of(folder),
            "adapter": (folder / ADAPTER).is_dir(),
        }


def inside(folder: Path, name: str) -> Path | None:
    """Give a file of a run folder, or None where there is none or where it is a link that leads out."""
    path = folder / name
    return path if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None


def state_of(folder: Path) -> State:
    """Tell how a run stands: whether a process holds it, and else what it left behind."""
    if _holder_lives(folder):
        return "running"
    if (folder / ADAPTER).is_dir() or (folder / MODEL).is_dir():
        return "finished"
    return "stopped" if inside(folder, METRICS_NAME) else "empty"


def read_config(folder: Path) -> dict[str, Any]:
    """Read the settings of a run; none where they are absent or damaged."""
    try:
        table = tomllib.loads(_document(folder, CONFIG_NAME))
    except (ValueError, RecursionError):
        return {}
    return {key: value if _is_plain(value) else str(value) for key, value in table.items()}


def read_plan(folder: Path) -> dict[str, Any] | None:
    """Read the plan of a run; None where it is absent or damaged."""
    plan = _parsed(_document(folder, PLAN_NAME))
    return plan if isinstance(plan, dict) else None


def answers_of(folder: Path) -> list[dict[str, str]]:
    """Read the held-out prompts of a run with their answers; none where their file is absent or damaged."""
    if inside(folder, ANSWERS_NAME) is None:
        return []
    try:
        return [{key: str(text) for key, text in vars(item).items()} for item in read_answers(folder)]
    except RecursionError:
        return []


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
    rows = [row for row in map(_parsed, part) if _is_row(row)]
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
    return [row for row in map(_parsed, lines) if _is_row(row) and isinstance(row.get(key), int | float)]


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("step"), int)


def _parsed(text: str | bytes) -> Any:
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


def _document(folder: Path, name: str) -> str:
    path = inside(folder, name)
    if path is None or path.stat().st_size > MOST_DOCUMENT_BYTES:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str | int) for item in value)
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _is_run(folder: Path, root: Path) -> bool:
    """Tell whether a folder is a run, lies here and not where a link leads, and has a name that text can hold."""
    is_here = not folder.is_symlink() or folder.resolve().parent == root.resolve()
    return is_here and folder.name.isprintable() and any(inside(folder, name) for name in MARKS)


def _holder_lives(folder: Path) -> bool:
    """Tell whether the process named in the lock runs. The lock itself is not tried: that could turn a run away."""
    words = _document(folder, LOCK_NAME).split()
    if not words or not words[0].isascii() or not words[0].isdigit():
        return False
    try:
        os.kill(int(words[0]), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _changed(folder: Path) -> float:
    return max(_modified(folder / name) or 0.0 for name in MARKS)


def _modified(path: Path | None) -> float | None:
    try:
        return None if path is None else path.stat().st_mtime
    except OSError:
        return None
