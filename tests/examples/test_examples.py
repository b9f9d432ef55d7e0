"""The examples run, and say what they promise."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
MOST_LINES = 60


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    def run_one(name: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, str(tmp_path)])
        monkeypatch.syspath_prepend(str(EXAMPLES))
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_one


def numbers_around_arrow(text: str) -> tuple[float, float]:
    before, after = text.split("loss ", 1)[1].split(" -> ")
    return float(before), float(after.split(";")[0].split(",")[0])


@pytest.fixture(scope="module")
def own_loop(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give the lines that it prints, from a process of its own."""
    command = [sys.executable, str(EXAMPLES / "own_loop.py"), str(tmp_path_factory.mktemp("own"))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_own_loop_learns_through_four_bits(own_loop):
    before, after = numbers_around_arrow(own_loop[1])
    assert after < 0.5 * before


def test_own_loop_takes_less_than_a_sixth_of_the_memory(own_loop):
    words = own_loop[0].split()
    assert 6 * int(words[4]) < int(words[1])


def test_own_loop_pages_its_optimizer_state(own_loop):
    assert "pages exchanged" in own_loop[1]
    assert ", 0 pages exchanged" not in own_loop[1]


def test_chat_tune_lowers_the_held_out_loss(run):
    before, after = numbers_around_arrow(run("chat_tune.py").splitlines()[-1].removeprefix("held-out "))
    assert after < before


def test_resume_ends_with_the_same_bytes(run):
    assert run("resume.py").splitlines()[-1] == "the same bytes: True"


def test_merge_and_export_writes_both_kinds_of_gguf(run, tmp_path):
    run("merge_and_export.py")
    assert {path.name for path in tmp_path.glob("*.gguf")} == {"merged-f16.gguf", "merged-q8_0.gguf"}


def test_every_example_is_run():
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.name}"' in tested for path in EXAMPLES.glob("*.py") if path.name != "tiny_model.py")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < MOST_LINES
