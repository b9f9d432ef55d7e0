"""Demonstrations, on networks small enough to take seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from one_line import one_line
from stylegan_nets import random_state
from trimtab.cli import demo_drag
from trimtab.cli.main import run
from trimtab.drag.edit import check_points
from trimtab.models.stylegan.load import write_generator
from trimtab.models.stylegan.stylegan2 import Sizes
from trimtab.store.cards import Card, models_folder, write_card

SIZES = Sizes(16, z_width=4, w_width=6, channel_base=64, channel_max=8, mapping_layers=2)
SMALL = (
    demo_drag.DemoEdit("up a bit", 1, (((8.0, 8.0), (8.0, 7.0)),)),
    demo_drag.DemoEdit("within a ring", 2, (((8.0, 8.0), (9.0, 8.0)),), ((8.0, 8.0), (6.0, 6.0))),
)


@pytest.fixture
def small_face(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = models_folder() / "face"
    folder.mkdir(parents=True)
    write_generator(folder, SIZES, random_state(SIZES))
    write_card(folder, Card("face", "stylegan2", "made here", "Apache-2.0", "0" * 64))
    monkeypatch.setattr(demo_drag, "EDITS", SMALL)
    monkeypatch.setattr(demo_drag, "RESOLUTION", 16)


@pytest.mark.usefixtures("small_face")
def test_the_demonstration_of_dragging_writes_a_sheet_and_a_session_for_every_edit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "drag", "--no-browser", "--out", str(tmp_path / "out"), "--json"]) == 0
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert [edit["steps"] > 0 for edit in result["edits"]] == [True, True]
    with Image.open(result["sheet"]) as sheet:
        assert sheet.width > 2 * 320
    assert (tmp_path / "out" / "up-a-bit" / "recipe.json").is_file()
    assert (tmp_path / "out" / "within-a-ring" / "movable.png").is_file()


@pytest.mark.usefixtures("small_face")
def test_a_demonstration_that_was_finished_is_shown_again_without_dragging(tmp_path: Path) -> None:
    command = ["demo", "drag", "--no-browser", "--out", str(tmp_path), "--quiet"]
    assert run(command) == 0
    (latents,) = (tmp_path / "up-a-bit").glob("latents-*.safetensors")
    content = latents.read_bytes()
    assert run(command) == 0
    assert latents.read_bytes() == content


@pytest.mark.parametrize("edit", demo_drag.EDITS, ids=lambda edit: edit.title)
def test_the_points_of_every_edit_lie_in_the_picture_and_the_part_that_may_change(edit: demo_drag.DemoEdit) -> None:
    for kind, points in zip(("handle", "target"), zip(*edit.ways, strict=True), strict=True):
        check_points(kind, points, demo_drag.RESOLUTION)
        if edit.movable is not None:
            (x, y), (across, down) = edit.movable
            assert all(((a - x) / across) ** 2 + ((b - y) / down) ** 2 <= 1 for a, b in points)


def test_an_unknown_demonstration_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "drg"]) == 2
    assert "drag" in one_line(capfd)
