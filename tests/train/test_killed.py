"""kill -9, the real thing: the same command, again and again, ends in the same bytes."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import pytest

from train_runs import command_line
from trimtab.train.run import PLAN_NAME

RUNS, KILLS_EACH, STEPS = 5, 5, 12
PATIENCE_S = 300
SETTINGS = ("batch_size=2", "accumulate=2", "max_length=48", "dropout=0.2", "eval_every=3", f"steps={STEPS}")
HEAVY = ["trimtab.cli.main", "trimtab.train.loop", "transformers.models.llama.modeling_llama", "torch._dynamo"]


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that find torch imported already, so that a kill falls into the run and not into an import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    return context


class Trainer:
    """Runs the command line in processes of its own."""

    def __init__(self, context: ForkServerContext, base: Path, rows: Path) -> None:
        self.context = context
        self.command = ["train", str(base), "--data", str(rows), "--quiet", "--device", "cpu", "--set", "save_every=1"]
        self.command += [word for setting in SETTINGS for word in ("--set", setting)]

    def start(self, out: Path) -> ForkServerProcess:
        process = self.context.Process(target=command_line, args=([*self.command, "--out", str(out)],))
        process.start()
        return process

    def finish(self, out: Path) -> tuple[bytes, bytes]:
        process = self.start(out)
        process.join(PATIENCE_S)
        assert process.exitcode == 0
        adapters = (out / name / "adapter_model.safetensors" for name in ("adapter", "adapter-best"))
        return tuple(path.read_bytes() for path in adapters)  # type: ignore[return-value]

    def kill_after(self, out: Path, seconds: float) -> bool:
        """Start, kill, and tell whether there was something left to kill."""
        process = self.start(out)
        process.join(seconds)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0


def _folder(out: Path, *, plan: Path) -> Path:
    """Make a run folder whose plan is made already: the kills are meant for the training."""
    out.mkdir()
    shutil.copy(plan, out)
    return out


@pytest.mark.slow
def test_twenty_five_kills_at_random_moments_lose_no_bit(
    processes: ForkServerContext, base: Path, rows: Path, tmp_path: Path
) -> None:
    trainer = Trainer(processes, base, rows)
    trainer.finish(tmp_path / "first")  # whoever comes first pays for what is imported late
    began = time.perf_counter()
    whole = trainer.finish(_folder(tmp_path / "whole", plan=tmp_path / "first" / PLAN_NAME))
    duration = time.perf_counter() - began
    moments = random.Random(20231)
    kills = in_training = 0
    for number in range(RUNS):
        out = _folder(tmp_path / f"killed-{number}", plan=tmp_path / "first" / PLAN_NAME)
        for _ in range(KILLS_EACH):
            while not trainer.kill_after(out, moments.uniform(0, duration)):
                out = _folder(tmp_path / f"{out.name}-again", plan=tmp_path / "first" / PLAN_NAME)  # it was faster
            kills += 1
            in_training += any((out / "checkpoints").glob("step-[1-9]*"))
        assert trainer.finish(out) == whole
    assert kills == RUNS * KILLS_EACH
    assert in_training >= kills // 3, "most kills fell before the first step"
