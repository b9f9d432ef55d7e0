"""Checkpoints: what is written, what is kept, what is believed."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trimtab.core.errors import CheckpointError, MissingError, RangeError, ResourceError
from trimtab.store.checkpoint import Kept, require_free, save
from trimtab.store.checkpoint_read import newest_valid

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]
DEAD_PID = 2**22 + 1  # above the largest that Linux gives


def _save(folder: Path, step: int, *, keep: int = 9, protect: tuple[int, ...] = ()) -> Path:
    tensors = {
        "weights": {"a": torch.full((3, 5), float(step)), "b": torch.arange(step + 1)},
        "random": {"r": torch.zeros(2)},
    }
    return save(folder, step, tensors, {"state": {"step": step, "loss": 0.5}}, kept=Kept(keep, protect))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (7,), (2, 3, 4)])
def test_tensors_come_back_to_the_bit(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.randn(shape) * 9).to(dtype)
    save(tmp_path, 1, {"weights": {"x": tensor, "y": torch.ones(1)}}, {}, kept=Kept(1))
    found, _ = newest_valid(tmp_path)
    assert found is not None
    back = found.tensors("weights")["x"]
    assert back.dtype == dtype
    assert torch.equal(back, tensor)


def test_files_are_plain_safetensors_for_any_reader(tmp_path: Path) -> None:
    path = save(tmp_path, 3, {"weights": {"t": torch.arange(6.0).view(2, 3).t()}}, {}, kept=Kept(1))
    assert torch.equal(load_file(path / "weights.safetensors")["t"], torch.arange(6.0).view(2, 3).t())


def test_documents_come_back(tmp_path: Path) -> None:
    _save(tmp_path, 4)
    found, skipped = newest_valid(tmp_path)
    assert found is not None
    assert (found.step, found.document("state"), skipped) == (4, {"step": 4, "loss": 0.5}, [])


def test_the_manifest_lists_size_and_hash_of_every_other_file(tmp_path: Path) -> None:
    path = _save(tmp_path, 0)
    files = json.loads((path / "manifest.json").read_text())["files"]
    assert sorted([*files, "manifest.json"]) == _names(path)
    assert {name: entry["size_bytes"] for name, entry in files.items()} == {
        name: (path / name).stat().st_size for name in files
    }


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in range(5):
        _save(tmp_path, step, keep=2)
    assert _names(tmp_path) == ["step-3", "step-4"]


def test_protected_steps_are_never_removed(tmp_path: Path) -> None:
    for step in range(5):
        _save(tmp_path, step, keep=1, protect=(1,))
    assert _names(tmp_path) == ["step-1", "step-4"]


def test_ten_counts_as_newer_than_nine(tmp_path: Path) -> None:
    for step in (9, 10):
        _save(tmp_path, step)
    assert newest_valid(tmp_path)[0].step == 10  # type: ignore[union-attr]


def test_a_damaged_later_checkpoint_does_not_push_out_the_one_just_written(tmp_path: Path) -> None:
    (_save(tmp_path, 30) / "state.json").unlink()
    _save(tmp_path, 20, keep=1)
    assert newest_valid(tmp_path)[0].step == 20  # type: ignore[union-attr]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    _save(tmp_path, 2)
    save(tmp_path, 2, {"weights": {"new": torch.ones(1)}}, {}, kept=Kept(1))
    assert _names(tmp_path) == ["step-2"]
    assert list(newest_valid(tmp_path)[0].tensors("weights")) == ["new"]  # type: ignore[union-attr]


@pytest.mark.parametrize("absent", ["never-made", "empty"])
def test_no_checkpoint_is_no_error(tmp_path: Path, absent: str) -> None:
    folder = tmp_path / absent
    if absent == "empty":
        folder.mkdir()
    assert newest_valid(folder) == (None, [])


def test_temporaries_of_dead_processes_go_at_the_next_start(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    shutil.copytree(tmp_path / "step-1", tmp_path / f".tmp-step-2-{DEAD_PID}")
    newest_valid(tmp_path)
    assert _names(tmp_path) == ["step-1"]


def test_temporaries_of_living_processes_stay(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    living = tmp_path / f".tmp-step-2-{os.getppid()}"
    living.mkdir()
    newest_valid(tmp_path)
    assert living.exists()


def test_one_that_had_stepped_aside_for_its_replacement_comes_back(tmp_path: Path) -> None:
    _save(tmp_path, 1).rename(tmp_path / f".tmp-old-1-{DEAD_PID}")
    assert newest_valid(tmp_path)[0].step == 1  # type: ignore[union-attr]


def test_a_folder_renamed_to_another_step_is_refused(tmp_path: Path) -> None:
    _save(tmp_path, 1).rename(tmp_path / "step-2")
    found, skipped = newest_valid(tmp_path)
    assert found is None
    assert "holds step 1" in skipped[0].reason


def test_asking_for_a_file_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    with pytest.raises(MissingError, match="weights"):
        newest_valid(tmp_path)[0].tensors("wieghts")  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [math.nan, math.inf, object()])
def test_a_document_that_json_cannot_say_is_refused_and_nothing_is_written(tmp_path: Path, value: object) -> None:
    with pytest.raises(CheckpointError, match=r"state\.json"):
        save(tmp_path, 1, {}, {"state": {"loss": value}}, kept=Kept(1))
    assert _names(tmp_path) == []


@pytest.mark.parametrize("stem", ["manifest", "../x", "a/b", "", ".hidden"])
def test_stems_that_could_leave_the_folder_are_refused(tmp_path: Path, stem: str) -> None:
    with pytest.raises(RangeError):
        save(tmp_path, 1, {}, {stem: {}}, kept=Kept(1))


@pytest.mark.parametrize(("step", "keep"), [(-1, 1), (0, 0)])
def test_numbers_out_of_range_are_refused(tmp_path: Path, step: int, keep: int) -> None:
    with pytest.raises(RangeError):
        save(tmp_path, step, {}, {}, kept=Kept(keep))


def test_tensors_of_a_type_the_format_lacks_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(RangeError, match="complex64"):
        save(tmp_path, 1, {"weights": {"x": torch.zeros(2, dtype=torch.complex64)}}, {}, kept=Kept(1))
    assert _names(tmp_path) == []


def test_too_little_free_space_is_said_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"bytes are free, 4,000,000,000,000,000 are needed"):
        require_free(tmp_path / "not" / "yet", 4 * 10**15)


def test_just_enough_free_space_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 500, 500))
    require_free(tmp_path, 500)
    with pytest.raises(ResourceError, match="500 bytes are free, 501 are needed"):
        require_free(tmp_path, 501)
