"""Checkpoints under failing disks, torn files and kill -9."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trimtab.core.errors import CheckpointError
from trimtab.store.checkpoint import Kept, save
from trimtab.store.checkpoint_read import newest_valid
from trimtab.store.durable import Disk

ERRORS = [errno.EIO, errno.ENOSPC, errno.EACCES]
SHARES = [0, 0.01, 0.25, 0.5, 0.75, 0.99]
STEPS = (1, 2, 3)


class FailingDisk(Disk):
    """Counts operations and fails the ``fail_at``-th, as often as ``times`` says."""

    def __init__(self, fail_at: int, error: int, *, times: int = 1) -> None:
        self.calls = 0
        self.failing = range(fail_at, fail_at + times)
        self.error = error

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return self.counted(found) if name in vars(Disk) and not name.startswith("_") else found

    def counted(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(*args: Any) -> Any:
            self.calls += 1
            if self.calls - 1 in self.failing:
                raise OSError(self.error, os.strerror(self.error))
            return work(*args)

        return attempt


def _contents(step: int) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    generator = torch.Generator().manual_seed(step)
    named = {f"w{i}": torch.randn(40, generator=generator) for i in range(3)}
    return {"weights": named, "optimizer": {"m": torch.full((9,), float(step))}}, {"state": {"step": step}}


def _save(folder: Path, step: int, disk: Disk | None = None) -> None:
    tensors, documents = _contents(step)
    save(folder, step, tensors, documents, kept=Kept(2), disk=disk)


def _is_whole(folder: Path) -> int | None:
    """Give the step of the newest checkpoint after checking its content against what was saved; None if absent."""
    found, _ = newest_valid(folder)
    if found is None:
        return None
    tensors, documents = _contents(found.step)
    for stem, named in tensors.items():
        back = found.tensors(stem)
        assert back.keys() == named.keys()
        assert all(torch.equal(back[name], tensor) for name, tensor in named.items())
    assert found.document("state") == documents["state"]
    return found.step


def _temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def _operations(start: Path, step: int, scratch: Path) -> int:
    shutil.copytree(start, scratch)
    disk = FailingDisk(10**9, errno.EIO)
    _save(scratch, step, disk)
    return disk.calls


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("step", [4, 3], ids=["a new step", "the same step again"])
def test_a_failure_at_any_operation_leaves_a_whole_checkpoint(tmp_path: Path, error: int, step: int) -> None:
    start = tmp_path / "start"
    for earlier in STEPS:
        _save(start, earlier)
    count = _operations(start, step, tmp_path / "scratch")
    assert count > 20
    for fail_at in range(count):
        folder = tmp_path / f"run-{fail_at}"
        shutil.copytree(start, folder)
        with pytest.raises(CheckpointError, match=os.strerror(error)):
            _save(folder, step, FailingDisk(fail_at, error))
        assert _temporaries(folder) == []
        assert _is_whole(folder) in (3, step)
        _save(folder, step)
        assert _is_whole(folder) == step
        shutil.rmtree(folder)


@pytest.mark.parametrize("error", ERRORS)
def test_a_disk_that_fails_for_good_leaves_a_whole_checkpoint(tmp_path: Path, error: int) -> None:
    start = tmp_path / "start"
    for earlier in STEPS:
        _save(start, earlier)
    for fail_at in range(_operations(start, 4, tmp_path / "scratch")):
        folder = tmp_path / f"run-{fail_at}"
        shutil.copytree(start, folder)
        with pytest.raises(CheckpointError):
            _save(folder, 4, FailingDisk(fail_at, error, times=10**9))
        assert _is_whole(folder) in (3, 4)
        assert _temporaries(folder) == []  # the look for the newest one is the next start
        shutil.rmtree(folder)


def test_a_failure_during_the_very_first_save_leaves_nothing_behind(tmp_path: Path) -> None:
    for fail_at in range(1, 15):
        folder = tmp_path / f"run-{fail_at}"
        with pytest.raises(CheckpointError):
            _save(folder, 1, FailingDisk(fail_at, errno.ENOSPC))
        assert _is_whole(folder) is None
        assert _temporaries(folder) == []


def test_a_full_disk_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"step-1 was not saved.*No space left.*Free space there and run"):
        _save(tmp_path, 1, FailingDisk(5, errno.ENOSPC))


def test_short_writes_are_completed(tmp_path: Path) -> None:
    class ShortDisk(Disk):
        def write(self, descriptor: int, content: memoryview) -> int:
            return os.write(descriptor, content[:7])

    _save(tmp_path, 1, ShortDisk())
    assert _is_whole(tmp_path) == 1


def _damaged_copies(tmp_path: Path, damage: Callable[[bytes], bytes | None]) -> list[str]:
    """Damage each file of the newest of two checkpoints in turn; give the files whose damage was not found."""
    start = tmp_path / "start"
    for step in (1, 2):
        _save(start, step)
    unnoticed = []
    for file in sorted((start / "step-2").iterdir()):
        whole = file.read_bytes()
        broken = damage(whole)
        file.unlink()
        if broken is not None:
            file.write_bytes(broken)
        found, skipped = newest_valid(start)
        noticed = found is not None and found.step == 1 and [one.path.name for one in skipped] == ["step-2"]
        if not noticed or file.name not in skipped[0].reason:
            unnoticed.append(file.name)
        file.write_bytes(whole)
    assert newest_valid(start)[0].step == 2  # type: ignore[union-attr]
    return unnoticed


@pytest.mark.parametrize("share", SHARES)
def test_a_truncated_file_is_found_and_the_older_checkpoint_taken(tmp_path: Path, share: float) -> None:
    assert _damaged_copies(tmp_path, lambda whole: whole[: int(len(whole) * share)]) == []


def test_one_missing_byte_at_the_end_is_found(tmp_path: Path) -> None:
    assert _damaged_copies(tmp_path, lambda whole: whole[:-1]) == []


def test_one_byte_too_many_is_found(tmp_path: Path) -> None:
    assert _damaged_copies(tmp_path, lambda whole: whole + b"\n") == []


def test_a_missing_file_is_found_and_never_taken_for_a_fresh_start(tmp_path: Path) -> None:
    assert _damaged_copies(tmp_path, lambda whole: None) == []


@pytest.mark.parametrize("seed", range(50))
def test_a_flipped_bit_anywhere_is_found(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    def flip(whole: bytes) -> bytes:
        broken = bytearray(whole)
        broken[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        return bytes(broken)

    assert _damaged_copies(tmp_path, flip) == []


def test_when_every_checkpoint_is_damaged_each_is_named(tmp_path: Path) -> None:
    for step in (1, 2):
        _save(tmp_path, step)
        (tmp_path / f"step-{step}" / "state.json").write_text("{}")
    found, skipped = newest_valid(tmp_path)
    assert found is None
    assert [one.path.name for one in skipped] == ["step-2", "step-1"]


def test_all_is_on_the_medium_before_the_name_appears_and_the_name_before_old_ones_go(tmp_path: Path) -> None:
    class RecordingDisk(Disk):
        def __init__(self) -> None:
            self.log: list[str] = []

        def create(self, path: Path) -> int:
            self.log.append(f"create {path.name}")
            return super().create(path)

        def sync(self, descriptor: int) -> None:
            self.log.append("sync")
            super().sync(descriptor)

        def sync_folder(self, path: Path) -> None:
            self.log.append(f"sync {'parent' if path == tmp_path else 'folder'}")
            super().sync_folder(path)

        def rename(self, source: Path, target: Path) -> None:
            self.log.append(f"rename to {target.name.split('-')[0]}")
            super().rename(source, target)

    disk = RecordingDisk()
    for step in (1, 2):
        disk.log.clear()
        save(tmp_path, step, {"weights": {}}, {"state": {}}, kept=Kept(1), disk=disk)
    files = ("weights.safetensors", "state.json", "manifest.json")
    written = [line for name in files for line in (f"create {name}", "sync")]
    assert disk.log == [*written, "sync folder", "rename to step", "sync parent", "rename to .tmp"]


SAVE_UNTIL_KILLED = """
import os, sys, time, random, signal, torch
from pathlib import Path
from trimtab.store.checkpoint import Kept, save
from trimtab.store.checkpoint_read import newest_valid

folder, chance = Path(sys.argv[1]), random.Random(0)

def named(step):
    return {f"w{i}": torch.full((5000,), float(step)) for i in range(8)}

def save_for_ever(step, report):
    while True:
        save(folder, step, {"weights": named(step)}, {"state": {"step": step}}, kept=Kept(2))
        os.write(report, b"%d\\n" % step)
        step += 1

step = 0
for _ in range(int(sys.argv[2])):
    reading, report = os.pipe()
    child = os.fork()
    if child == 0:
        save_for_ever(step, report)
    os.close(report)
    first = os.read(reading, 100)
    time.sleep(chance.random() * 0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    last = int((first + os.read(reading, 10000)).split()[-1])
    os.close(reading)
    left = sum(path.name.startswith(".") for path in folder.iterdir())
    found, skipped = newest_valid(folder)
    weights = found.tensors("weights")
    whole = all(torch.equal(weights[name], tensor) for name, tensor in named(found.step).items())
    swept = not any(path.name.startswith(".") for path in folder.iterdir())
    print(found.step >= last, skipped == [], whole, swept, left > 0, sep=",")
    step = found.step + 1
"""


def test_kill_nine_at_any_moment_leaves_the_last_reported_checkpoint_or_a_newer_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAVE_UNTIL_KILLED, str(tmp_path / "checkpoints"), "25"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert [line.split(",")[:4] for line in lines] == [["True"] * 4] * 25
    assert any(line.endswith(",True") for line in lines), "no kill ever met a save half-way"


FILL_THE_DISK = """
import sys, torch
from pathlib import Path
from trimtab.core.errors import CheckpointError
from trimtab.store.checkpoint import Kept, save
from trimtab.store.checkpoint_read import newest_valid

folder, last = Path(sys.argv[1]), -1
for step in range(12):
    try:
        save(folder, step, {"weights": {"w": torch.full((40_000 * (step + 1),), float(step))}}, {}, kept=Kept(2))
        last = step
    except CheckpointError as error:
        assert "No space left on device" in str(error)
    found, skipped = newest_valid(folder)
    assert found.step == last and not skipped
    assert torch.equal(found.tensors("weights")["w"], torch.full((40_000 * (last + 1),), float(last)))
print(last)
"""


def test_a_disk_that_is_really_full_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=4m none "$1" && exec "$2" -c "$3" "$1/checkpoints"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    try:
        subprocess.run([*command[:4], "mount", "-t", "tmpfs", "none", str(tmp_path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets nobody mount a small disk of their own")
    run = subprocess.run([*command, str(tmp_path), sys.executable, FILL_THE_DISK], capture_output=True, text=True)
    assert run.stderr == ""
    assert 4 <= int(run.stdout) < 11
