"""Ctrl-C and SIGTERM: what was finished is saved, and the way to go on is printed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from train_runs import Making, run, trained_bytes
from trimtab.core.errors import LockedError
from trimtab.core.interrupt import Interrupted
from trimtab.core.job import Progress
from trimtab.models.language_model import LanguageModel
from trimtab.store.checkpoint_read import newest_valid
from trimtab.train.loop import train
from trimtab.train.request import TrainRequest
from trimtab.train.step import finish_step

SETTINGS = ("batch_size=2", "accumulate=1", "max_length=48", "rank=2", "steps=100000", "save_every=100000")
SAVED_WITHIN_S = 5


@pytest.fixture
def process(base: Path, rows: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A training process that would go on for hours, some steps after its start."""
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    command = [sys.executable, "-m", "trimtab.cli.main", "train", str(base), "--data", str(rows), *words]
    out = tmp_path / "run"
    started = subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not _measured_steps(out) > 2:
            assert started.poll() is None, started.stderr.read()  # type: ignore[union-attr]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield started
    finally:
        started.kill()
        started.communicate()


def _measured_steps(out: Path) -> int:
    path = out / "metrics.jsonl"
    return path.read_text(encoding="utf-8").count("grad_norm") if path.exists() else 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_last_finished_step_and_says_how_to_go_on(
    process: subprocess.Popen[str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process.send_signal(number)
    _, said = process.communicate(timeout=SAVED_WITHIN_S)
    loaded, _ = newest_valid(tmp_path / "run" / "checkpoints")
    assert loaded is not None
    assert loaded.step == _measured_steps(tmp_path / "run")
    assert process.returncode == code
    assert "trimtab train" in said
    assert str(tmp_path / "run") in said
    assert "Traceback" not in said


def test_a_second_process_is_refused_with_the_pid_of_the_first(
    process: subprocess.Popen[str], making: Making, tmp_path: Path
) -> None:
    with pytest.raises(LockedError, match=rf"Process {process.pid} is at work in {tmp_path / 'run'}"):
        run(making(out="run"))


def forward(patched: pytest.MonkeyPatch) -> None:
    """Stop in the network's forward pass."""
    original = LanguageModel.loss_sum

    def loss_sum(*args: Any) -> Any:
        outcome = original(*args)
        signal.raise_signal(signal.SIGTERM)
        return outcome

    patched.setattr(LanguageModel, "loss_sum", loss_sum)


def stepping(patched: pytest.MonkeyPatch) -> None:
    """Stop between the gradients and the optimizer."""

    def finish(*args: Any, **kwargs: Any) -> float:
        signal.raise_signal(signal.SIGTERM)
        return finish_step(*args, **kwargs)

    patched.setattr("trimtab.train.work.finish_step", finish)


def watching(patched: pytest.MonkeyPatch) -> None:
    """Stop while somebody looks at the event."""
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("stop", [forward, stepping, watching])
def test_a_signal_in_the_middle_of_a_step_drops_it_or_finishes_it(
    making: Making, monkeypatch: pytest.MonkeyPatch, stop: Callable[[pytest.MonkeyPatch], None]
) -> None:
    whole, stopped = making(out="whole"), making(out="stopped")
    run(whole)
    with monkeypatch.context() as patched:
        steps = _steps_until_stopped(stopped, lambda: stop(patched))
    run(stopped)
    assert (steps, trained_bytes(stopped)) == (2, trained_bytes(whole))


def _steps_until_stopped(request: TrainRequest, stop: Callable[[], None]) -> float:
    """Call ``stop`` after two steps and give how many events of steps there were."""
    seen = 0.0
    try:
        for event in train(request):
            if isinstance(event, Progress) and event.what == "training":
                seen = event.done
                if seen == 2:
                    stop()
    except Interrupted:
        return seen
    raise AssertionError("the signal was lost")
