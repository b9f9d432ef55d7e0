"""Damaged checkpoints, full disks, and runs that are not the one in the folder."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from train_runs import SMALL, Making, run, run_until, trained_bytes, warnings_of, write_rows
from trimtab.core.errors import CheckpointError, RangeError, ResourceError, UsageError
from trimtab.store.checkpoint import Kept, save
from trimtab.store.checkpoint_read import newest_valid
from trimtab.store.durable import Disk
from trimtab.train import resume, work
from trimtab.train.request import TrainRequest
from trimtab.train.settings import TrainSettings

FILES = ["weights.safetensors", "optimizer.safetensors", "random.safetensors", "state.json", "manifest.json"]


@pytest.fixture(scope="module")
def stopped(base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the checkpoints of steps 2 and 3, to be copied."""
    request = _request(base, rows, tmp_path_factory.mktemp("stopped") / "run")
    run_until(request, 3)
    return request.out


@pytest.fixture(scope="module")
def whole(base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the run gives when nothing happens to it."""
    request = _request(base, rows, tmp_path_factory.mktemp("whole"))
    run(request)
    return trained_bytes(request)


def _request(base: Path, rows: Path, out: Path) -> TrainRequest:
    return TrainRequest(base, str(rows), out, TrainSettings(**SMALL, save_every=1), device="cpu", questions=0)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [Path.unlink, _truncate, _flip_a_bit])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_sends_the_run_back_to_the_older_checkpoint_aloud(
    stopped: Path, whole: bytes, making: Making, name: str, damage: Any
) -> None:
    request = making(save_every=1)
    shutil.copytree(stopped, request.out)
    damage(request.out / "checkpoints" / "step-3" / name)
    (warning,) = warnings_of(run(request))
    assert "step-3 is damaged and passed over" in warning
    assert trained_bytes(request) == whole


def test_damage_to_every_checkpoint_is_refused_rather_than_begun_afresh(stopped: Path, making: Making) -> None:
    request = making(save_every=1)
    shutil.copytree(stopped, request.out)
    for folder in (request.out / "checkpoints").iterdir():
        (folder / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"every checkpoint is damaged \(step-3: weights.safetensors is missing"):
        run(request)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lr": 1e-3}, "lr was 0.01, now 0.001"),
        ({"rank": 4}, "rank was 2, now 4"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"method": "lora"}, 'method was "qlora", now "lora"'),
        ({"accumulate": 2, "dropout": 0.1}, "accumulate was 1, now 2; dropout was 0.0, now 0.1"),
        ({"schedule": "linear"}, 'schedule was "constant", now "linear"'),
    ],
)
def test_other_settings_are_refused_by_name(stopped: Path, making: Making, changes: dict[str, Any], named: str) -> None:
    request = making(**changes)
    shutil.copytree(stopped, request.out)
    with pytest.raises(UsageError, match="holds another run: ") as refused:
        run(request)
    assert named in str(refused.value)


def test_a_refused_run_leaves_the_folder_as_it_was(stopped: Path, making: Making) -> None:
    request = making(lr=1e-3)
    shutil.copytree(stopped, request.out)
    before = {path: path.read_bytes() for path in request.out.rglob("*") if path.is_file()}
    with pytest.raises(UsageError):
        run(request)
    assert {path: path.read_bytes() for path in request.out.rglob("*") if path.is_file()} == before


def test_a_refused_run_gives_back_what_it_held(stopped: Path, making: Making) -> None:
    request = making(lr=1e-3)
    shutil.copytree(stopped, request.out)
    with pytest.raises(UsageError):
        run(request)
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("key", ["identity", "versions", "numbers", "step"])
def test_a_checkpoint_that_lacks_a_part_is_refused_by_name(stopped: Path, making: Making, key: str) -> None:
    request = making()
    shutil.copytree(stopped, request.out)
    loaded, _ = newest_valid(request.out / "checkpoints")
    assert loaded is not None
    tensors = {stem: loaded.tensors(stem) for stem in ("weights", "optimizer", "random")}
    document = loaded.document("state")
    document.pop(key)
    save(request.out / "checkpoints", 4, tensors, {"state": document}, kept=Kept(5))
    with pytest.raises(CheckpointError, match=rf"another version of trimtab \(differing: {key}\)"):
        run(request)


def test_a_warm_up_longer_than_the_run_is_refused_before_anything_is_loaded(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "build_model", None)
    with pytest.raises(RangeError, match="warmup_steps = 5, but the run has 4 steps"):
        run(making(warmup_steps=5))
    with pytest.raises(RangeError, match="warmup_steps = 50, but the run has 11 steps"):
        run(making(warmup_steps=50, steps=0))


def test_other_data_is_refused(stopped: Path, making: Making, tmp_path: Path) -> None:
    request = making(data=write_rows(tmp_path / "other.jsonl", said="quite other words for each "))
    shutil.copytree(stopped, request.out)
    with pytest.raises(UsageError, match="data was sha256 "):
        run(request)


@pytest.mark.parametrize(("name", "key"), [("config.json", "model"), ("tokenizer_config.json", "tokenizer")])
def test_another_model_is_refused(
    stopped: Path, making: Making, base: Path, tmp_path: Path, name: str, key: str
) -> None:
    other = tmp_path / "other"
    shutil.copytree(base, other)
    document = json.loads((other / name).read_text())
    (other / name).write_text(json.dumps(document | {"note": "changed"}))
    request = making(model=other)
    shutil.copytree(stopped, request.out)
    with pytest.raises(UsageError, match=f"{key} was sha256 "):
        run(request)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 5},
        {"time_limit_s": 600.0},
        {"keep": 5},
        {"save_every": 2},
        {"eval_every": 1, "eval_limit": 1},
        {"optimizer_budget": 65_536},
    ],
    ids=str,
)
def test_what_changes_no_trained_bit_may_change(
    stopped: Path, whole: bytes, making: Making, changes: dict[str, Any]
) -> None:
    request = making(**changes)
    shutil.copytree(stopped, request.out)
    assert run(request)[-1].to_json()["steps"] == changes.get("steps", 4)
    assert (trained_bytes(request) == whole) is ("steps" not in changes)


def test_other_software_is_said_aloud(stopped: Path, making: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    request = making()
    shutil.copytree(stopped, request.out)
    now = resume.surroundings() | {"torch": "99.0", "threads": "64"}
    monkeypatch.setattr(resume, "surroundings", lambda: now)
    (warning,) = warnings_of(run(request))
    assert "now 99.0" in warning
    assert "now 64" in warning


def test_a_disk_that_fills_up_leaves_the_last_checkpoint_whole(
    making: Making, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = making(save_every=1)
    run_until(request, 2)
    with monkeypatch.context() as patched:
        patched.setattr(Disk, "write", _no_space)
        with pytest.raises(CheckpointError, match=r"No space left on device.*Free space there and run the same"):
            run(request)
    loaded, skipped = newest_valid(request.out / "checkpoints")
    assert loaded is not None
    assert (loaded.step, skipped) == (2, [])
    run(request)
    assert trained_bytes(request) == whole


def _no_space(disk: Disk, descriptor: int, content: memoryview) -> int:
    """Refuse what is larger than the small files beside the checkpoints."""
    if len(content) > 4096:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return os.write(descriptor, content)


def test_a_disk_without_room_for_the_checkpoints_is_refused_before_the_first_step(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("trimtab.store.checkpoint.shutil.disk_usage", lambda _: usage._replace(free=100_000))
    request = making()
    with pytest.raises(ResourceError, match="100,000 bytes are free"):
        run(request)
    assert not (request.out / "metrics.jsonl").exists()
