"""Small real training runs, shared by many tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trimtab.core.job import Event, Note, Progress
from trimtab.train.loop import train
from trimtab.train.request import TrainRequest

SMALL = {"batch_size": 2, "accumulate": 1, "max_length": 48, "rank": 2, "lr": 1e-2, "eval_fraction": 0.1, "steps": 4}
Making = Callable[..., TrainRequest]


def write_rows(path: Path, *, said: str = "the trimming tab and the ring ") -> Path:
    """Write rows; other words make other data."""
    lines = [json.dumps({"prompt": f"on {i}", "completion": said[: 8 + i] + str(i)}) for i in range(24)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(request: TrainRequest) -> list[Event]:
    """Run to the end."""
    return list(train(request))


def run_until(request: TrainRequest, step: int) -> None:
    """Run and leave, as a closed window does, right after a step."""
    job = train(request)
    for event in job:
        if isinstance(event, Progress) and event.what == "training" and event.done == step:
            break
    job.close()


def trained_bytes(request: TrainRequest) -> bytes:
    """Give the bytes of the finished adapter."""
    return (request.out / "adapter" / "adapter_model.safetensors").read_bytes()


def measured(request: TrainRequest) -> list[dict[str, Any]]:
    """Give what a run measured, without what depends on the clock and on the machine."""
    vague = ("tokens_per_s", "memory_bytes", "seconds", "elapsed_s")
    lines = (request.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in vague} for line in lines]


def warnings_of(events: list[Event]) -> list[str]:
    """Give the warnings among events."""
    return [event.text for event in events if isinstance(event, Note) and event.kind == "warning"]


def command_line(arguments: list[str]) -> None:
    """Be the command ``trimtab``, as the main function of a process."""
    from trimtab.cli.main import run as run_command

    torch.set_num_threads(1)
    sys.exit(run_command(arguments))
