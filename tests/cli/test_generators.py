"""Generators of pictures on the command line: what they are is shown, and language commands refuse them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from one_line import one_line
from stylegan_nets import random_state
from trimtab.cli.main import run
from trimtab.models.stylegan.load import write_generator
from trimtab.models.stylegan.stylegan2 import Sizes
from trimtab.store.cards import Card, write_card

SIZES = Sizes(16, z_width=4, w_width=6, channel_base=64, channel_max=8, mapping_layers=2)
pytestmark = pytest.mark.usefixtures("own_store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_generator(tmp_path, SIZES, random_state(SIZES))
    write_card(tmp_path, Card("mine", "stylegan2", "made here", "Apache-2.0", "0" * 64, note="a note"))
    return tmp_path


def test_a_generator_is_shown_with_its_card_and_sizes(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "show", str(folder), "--json"]) == 0
    shown = json.loads(capfd.readouterr().out.splitlines()[-1])
    expected = {"kind": "stylegan2", "resolution": 16, "note": "a note", "licence": "Apache-2.0"}
    assert expected.items() <= shown.items()


def test_the_face_is_listed_before_it_was_added(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list"]) == 0
    assert "trimtab models add face" in " ".join(capfd.readouterr().out.split())


@pytest.mark.parametrize(
    "command",
    [["generate", "GENERATOR", "--prompt", "x"], ["quantize", "GENERATOR", "--out", "x"], ["chat", "GENERATOR"]],
)
def test_a_language_command_refuses_a_generator(
    folder: Path, capfd: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert run([str(folder) if word == "GENERATOR" else word for word in command]) == 2
    assert f"{folder} holds a generator of pictures" in one_line(capfd)
