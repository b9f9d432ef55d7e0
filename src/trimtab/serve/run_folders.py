"""What the folders of training runs say, read while they are being written and never changed."""

from __future__ import annotations

import math
import os
import time
import tomllib
from pathlib import Path
from typing import Any, Final, Literal

from trimtab.core.errors import MissingError, did_you_mean
from trimtab.serve.run_files import document, inside, parsed
from trimtab.serve.run_metrics import measured
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
MOST_PID_DIGITS: Final = 10
CLOCKS_AGREE_S: Final = 2.0


class RunFolders:
    """The runs directly below one folder. Names are looked up in its listing; links that lead out are not there."""

    def __init__(self, root: Path) -> None:
        """Choose the folder; it may be absent, and appear later."""
        self.root = root

    def folders(self) -> list[Path]:
        """Give the runs, the last changed first."""
        try:
            found = [entry for entry in self.root.iterdir() if entry.is_dir() and _is_run(entry, self.root)]
        except OSError:
            return []
        return sorted(found, key=_changed, reverse=True)

    def find(self, name: str) -> Path:
        """Give the folder of a run.

        Raises:
            MissingError: no run has this name.
        """
        found = {folder.name: folder for folder in self.folders()}
        if name not in found:
            raise MissingError(f"no run {name[:80]!r} here. {did_you_mean(name[:80], found)}")
        return found[name]


def summary(folder: Path) -> dict[str, Any]:
    """Give a run's line of a list: name, state, steps, losses, times, and a short curve."""
    config = read_config(folder)
    return {
        "name": folder.name,
        "state": state_of(folder),
        "method": config.get("method"),
        "steps": config.get("steps") or None,
        "time_limit_s": config.get("time_limit_s") or None,
        "started": _modified(inside(folder, PLAN_NAME) or inside(folder, CONFIG_NAME)),
        "updated": _changed(folder),
        "report": inside(folder, REPORT_NAME) is not None,
        **measured(folder),
    }


def detail(folder: Path) -> dict[str, Any]:
    """Give all that a run folder says besides its measurements."""
    return {
        **summary(folder),
        "config": read_config(folder),
        "plan": read_plan(folder),
        "answers": answers_of(folder),
        "adapter": (folder / ADAPTER).is_dir(),
    }


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
        table = tomllib.loads(document(folder, CONFIG_NAME))
    except (ValueError, RecursionError):
        return {}
    return {key: value if _is_plain(value) else str(value) for key, value in table.items()}


def read_plan(folder: Path) -> dict[str, Any] | None:
    """Read the plan of a run; None where it is absent or damaged."""
    plan = parsed(document(folder, PLAN_NAME))
    return plan if isinstance(plan, dict) else None


def answers_of(folder: Path) -> list[dict[str, str]]:
    """Read the held-out prompts of a run with their answers; none where their file is absent or damaged."""
    if inside(folder, ANSWERS_NAME) is None:
        return []
    return [vars(item) for item in read_answers(folder)]


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
    word = next(iter(document(folder, LOCK_NAME).split()), "")
    if not (word.isascii() and word.isdigit() and len(word) <= MOST_PID_DIGITS and int(word)):
        return False
    try:
        os.kill(int(word), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it runs, as somebody else's
    return _held_by(int(word), folder / LOCK_NAME)


def _held_by(pid: int, lock: Path) -> bool:
    """Tell whether a process is old enough to have written a lock: numbers of processes are given again."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        ticks = int(status.rpartition(")")[2].split()[19])  # from the start of the machine to that of the process
        up_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        written = lock.stat().st_mtime
    except (OSError, AttributeError, IndexError, ValueError):  # not Linux, or it ended just now
        return True
    began = time.time() - up_s + ticks / os.sysconf("SC_CLK_TCK")
    return began <= written + CLOCKS_AGREE_S


def _changed(folder: Path) -> float:
    return max(_modified(folder / name) or 0.0 for name in MARKS)


def _modified(path: Path | None) -> float | None:
    try:
        return None if path is None else path.stat().st_mtime
    except OSError:
        return None
