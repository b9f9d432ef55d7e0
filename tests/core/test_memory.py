"""What memory is left, on a machine and inside a container."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trimtab.core import memory

MIB = 1 << 20


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a control group with 100 MiB, 30 of them used, 10 of those for files that can be dropped."""
    (tmp_path / "memory.max").write_text(f"{100 * MIB}\n")
    (tmp_path / "memory.current").write_text(f"{30 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {20 * MIB}\ninactive_file {10 * MIB}\n")
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    return tmp_path


def test_a_container_leaves_its_limit_less_what_is_used(group: Path) -> None:
    assert memory.available_bytes() == 80 * MIB


@pytest.mark.parametrize("limit", ["max", "", str(1 << 60)])
def test_without_a_limit_below_the_machine_the_machine_decides(
    group: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (group / "memory.max").write_text(limit)
    monkeypatch.setattr(memory, "_of_machine", lambda: 123)
    assert memory.available_bytes() == 123


@pytest.mark.parametrize("absent", ["memory.max", "memory.current", "memory.stat"])
def test_a_system_without_these_files_is_asked_itself(
    group: Path, absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (group / absent).unlink()
    monkeypatch.setattr(memory, "_of_machine", lambda: 123)
    assert memory.available_bytes() == 123


def test_a_group_beyond_its_limit_has_nothing_left(group: Path) -> None:
    (group / "memory.current").write_text(str(200 * MIB))
    assert memory.available_bytes() == 0


def test_what_a_process_holds_is_no_more_than_its_peak() -> None:
    import torch

    assert 0 < memory.resident_bytes() <= memory.peak_bytes(torch.device("cpu"))


def test_freed_memory_goes_back_once_that_was_asked_for() -> None:
    """In a process of its own, since there is no way back: what stands between two tensors is not kept."""
    code = """
import torch
from trimtab.core.memory import give_back_when_freed, resident_bytes
assert give_back_when_freed()
before = resident_bytes()
pairs = [(torch.ones(1 << 19), torch.ones(1 << 19)) for _ in range(64)]
kept = [first for first, _ in pairs]
del pairs
print((resident_bytes() - before) >> 20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 120 <= int(done.stdout) < 160
