"""What `trimtab plan` says of a run, and what `trimtab train` then measures: peak memory, and time a step.

Plan and run are the commands a person types, each in a fresh process, one after the other. Every row fills the window,
so that a step of the run does what the plan is about. Time is the median step of the run's metrics.

    python bench/plan_truth.py [--model smollm2] [--steps 6] [--only NAME ...] [--json rows.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _table import print_table
from _text import plays

ROWS, CHARACTERS_A_TOKEN = 64, 8  # more characters than any window holds tokens for; what is left over is a window too
COMMON = ("accumulate=1", "eval_fraction=0", "loss_on=all", "save_every=1000000")
SETTINGS: dict[str, tuple[str, ...]] = {
    "qlora 1x512": ("batch_size=1", "max_length=512"),
    "qlora 4x128": ("batch_size=4", "max_length=128"),
    "qlora 4x512": ("batch_size=4", "max_length=512"),
    "qlora 4x512, recomputed": ("batch_size=4", "max_length=512", "gradient_checkpointing=true"),
    "qlora 1x256, rank 64, 8-bit state": ("batch_size=1", "max_length=256", "rank=64", "optimizer_bits=8"),
    "lora 1x512": ("method=lora", "batch_size=1", "max_length=512"),
}
COLUMNS = (
    "settings",
    "memory plan, MB",
    "memory run, MB",
    "memory ratio",
    "s a step plan",
    "s a step run",
    "time ratio",
)


def main(argv: list[str]) -> None:
    """Plan, run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", nargs="*", default=list(SETTINGS), choices=list(SETTINGS), metavar="NAME")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as temporary:
        data = write_rows(Path(temporary) / "rows.jsonl")
        rows = [compare(given.model, name, given.steps, data) for name in given.only]
    print_table(rows, COLUMNS)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


def write_rows(path: Path) -> Path:
    """Write rows that are longer than every window."""
    text = plays()
    longest = 512 * CHARACTERS_A_TOKEN
    starts = (start * longest % (len(text) - longest) for start in range(ROWS))
    rows = (text[start : start + longest] for start in starts)
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    return path


def compare(model: str, name: str, steps: int, data: Path) -> dict[str, Any]:
    """Give one row."""
    words = [word for setting in (*COMMON, *SETTINGS[name], f"steps={steps}") for word in ("--set", setting)]
    planned = result(["plan", model, *words])
    out = data.parent / name.replace(" ", "-").replace(",", "")
    ran = result(["train", model, "--data", str(data), "--out", str(out), *words])
    seconds = step_seconds(out / "metrics.jsonl")
    return {
        "settings": name,
        "memory plan, MB": round(planned["peak_bytes"] / 1e6),
        "memory run, MB": round(ran["peak_bytes"] / 1e6),
        "memory ratio": round(planned["peak_bytes"] / ran["peak_bytes"], 3),
        "s a step plan": round(planned["seconds_a_step"], 3),
        "s a step run": round(seconds, 3),
        "time ratio": round(planned["seconds_a_step"] / seconds, 3),
    }


def result(arguments: list[str]) -> dict[str, Any]:
    """Run a trimtab command; give its last event.

    Raises:
        SystemExit: the command failed; its own words say why.
    """
    command = [sys.executable, "-m", "trimtab.cli.main", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"trimtab {' '.join(arguments)}\n{done.stderr}")
    values: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return values


def step_seconds(metrics: Path) -> float:
    """Give the median time of a step whose windows are full, the first left out."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    steps = [row for row in rows if "seconds" in row][1:]
    full = max(step["tokens"] for step in steps)
    return statistics.median(step["seconds"] for step in steps if step["tokens"] == full)


if __name__ == "__main__":
    main(sys.argv[1:])
