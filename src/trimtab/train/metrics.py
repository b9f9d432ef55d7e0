"""``metrics.jsonl``: one line a measurement, kept in step with the checkpoints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from trimtab.store.durable import write_bytes

FILE_NAME = "metrics.jsonl"


class Metrics:
    """Appends measurements to a run's file, and to TensorBoard where that is asked for."""

    def __init__(self, folder: Path, *, tensorboard: bool = False) -> None:
        """Open the folder's file; TensorBoard needs the [track] extra."""
        self.path = folder / FILE_NAME
        self._board = _board(folder) if tensorboard else None

    def add(self, step: int, values: dict[str, Any]) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        if self._board is not None:
            for key, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(key, value, step)

    def sync(self) -> None:
        """Wait until what was measured is on the medium, so that no checkpoint is ahead of it."""
        if self.path.exists():
            with self.path.open("ab") as file:
                os.fsync(file.fileno())

    def rewind(self, step: int) -> None:
        """Drop what was measured after ``step``: a continued run measures it again."""
        lines = [json.dumps(row) for row in read_metrics(self.path) if row["step"] <= step]
        write_bytes(self.path, "".join(line + "\n" for line in lines).encode())

    def close(self) -> None:
        """Flush what is open."""
        if self._board is not None:
            self._board.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the measurements of a run; a last line cut off by a crash is left out."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
    return rows


def _board(folder: Path) -> Any:
    from trimtab.core.errors import ResourceError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ResourceError("--tensorboard needs one more package: pip install 'trimtab[track]'.") from error
    return SummaryWriter(str(folder / "tensorboard"))  # type: ignore[no-untyped-call]
