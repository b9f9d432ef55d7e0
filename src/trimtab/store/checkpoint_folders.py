"""The names of checkpoints in their folder, and what stopped processes left among them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from trimtab.store.durable import Disk, remove_tree

STEP_FOLDER: Final = re.compile(r"step-(\d+)")
TEMPORARY: Final = re.compile(r"\.tmp-(step|old)-(\d+)-(\d+)")


def clean(folder: Path, *, disk: Disk | None = None) -> None:
    """Remove what processes that are gone left half-done; a checkpoint that one of them had set aside comes back."""
    disk = disk or Disk()
    for path in sorted(Path(folder).iterdir()):
        match = TEMPORARY.fullmatch(path.name)
        if match is None or _is_other_living_process(int(match[3])):
            continue
        final = path.with_name(f"step-{match[2]}")
        if match[1] == "old" and not final.exists():
            disk.rename(path, final)
        else:
            remove_tree(disk, path)


def steps_in(folder: Path) -> list[int]:
    """Give the steps of which there are checkpoints, in no order."""
    names = [STEP_FOLDER.fullmatch(path.name) for path in folder.iterdir()]
    return [int(match[1]) for match in names if match]


def _is_other_living_process(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
