"""Run folders as a training run leaves them, written without training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

PARTS = {"codes": 900_000_000, "scales": 100_000_000}
PLAN = {"peak_bytes": 1_000_000_000, "limit_bytes": 2**34, "seconds_a_step": 2.0, "parts": PARTS}
ANSWERS = [{"prompt": "why?", "expected": "so", "before": "no idea", "after": "<b>so</b>"}]


def row(step: int, **changes: Any) -> dict[str, Any]:
    """Give one line of measurements."""
    measured = {"loss": 3.0 - step / 10, "lr": 1e-4, "tokens_per_s": 50.0 + step, "memory_bytes": 2_000_000_000}
    return {"step": step, **measured, "seconds": 4.0, "elapsed_s": 4.0 * step, **changes}


def rows(steps: int) -> list[dict[str, Any]]:
    """Give the measurements of a run, with an evaluation before and after."""
    return [{"step": 0, "eval_loss": 3.25}, *(row(n) for n in range(1, steps + 1)), {"step": steps, "eval_loss": 1.75}]


def append(folder: Path, measured: list[dict[str, Any]]) -> None:
    """Measure more."""
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(one) + "\n" for one in measured))


def write_run(root: Path, name: str, *, steps: int = 10, running: bool = False, finished: bool = True) -> Path:
    """Write a run folder; ``running`` is held by this very process."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('method = "qlora"\nsteps = 20\nlr = 0.0001\ntargets = []\n', encoding="utf-8")
    (folder / "plan.json").write_text(json.dumps(PLAN), encoding="utf-8")
    (folder / "lock").write_text(f"{os.getpid()}\n" if running else "", encoding="utf-8")
    append(folder, rows(steps))
    if finished:
        (folder / "adapter").mkdir()
        (folder / "answers.json").write_text(json.dumps(ANSWERS), encoding="utf-8")
        (folder / "report.html").write_text("<title>report</title><script>document.title = 'ran'</script>")
    return folder
