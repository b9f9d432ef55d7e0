"""A folder made whole or not at all, even where the power fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.core.errors import RangeError
from trimtab.store.durable import Disk
from trimtab.store.whole import whole_folder


def test_every_file_is_on_the_medium_before_the_folder_has_its_name(tmp_path: Path, monkeypatch) -> None:
    done: list[str] = []
    synced = Disk.sync

    def sync(self: Disk, descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        synced(self, descriptor)

    monkeypatch.setattr(Disk, "sync", sync)
    monkeypatch.setattr(Disk, "sync_folder", lambda self, path: done.append(f"{path.name}/"))
    monkeypatch.setattr(Disk, "rename", lambda self, source, target: done.append("renamed"))
    with whole_folder(tmp_path / "out") as folder:
        (folder / "inner").mkdir()
        for name in ("config.json", "inner/tokenizer.json"):
            (folder / name).write_text("{}")
        partial = folder.name
    assert done.index("inner/") > done.index("tokenizer.json")
    assert set(done[:3]) == {"config.json", "tokenizer.json", "inner/"}
    assert done[3:] == [f"{partial}/", "renamed", f"{tmp_path.name}/"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with whole_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("a")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "a"]


def test_a_folder_that_another_process_made_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def both() -> None:
        with whole_folder(out) as folder:
            (folder / "a").write_text("mine")
            out.mkdir()
            (out / "a").write_text("theirs")

    with pytest.raises(RangeError, match="another process meanwhile"):
        both()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "a").read_text() == "theirs"
