"""``trimtab drag --photo``: inverted once, dragged after, and replayed to the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from dragging import generator_folder
from one_line import one_line
from trimtab.cli.main import run as main
from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.core.job import Note, Progress, result_of
from trimtab.drag.invert.align import Placement
from trimtab.drag.invert.portrait import PhotoRequest
from trimtab.drag.invert.settings import InvertSettings
from trimtab.drag.recipe import read_recipe
from trimtab.drag.run import DragRequest, run
from trimtab.drag.stored import replay
from trimtab.models.stylegan.load import load_generator
from trimtab.store.safetensors import TensorFile

QUICK = InvertSettings(guesses=4, style_steps=4, detail_steps=1, adapter_steps=4, look_every=2, rank=2, part_px=32)
DRAGGED = (("feature_size", 16), ("lost_ratio", 0.0), ("max_steps", 4), ("search_px", 3.0))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return generator_folder(tmp_path_factory.mktemp("store") / "tiny")


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "me.png"
    Image.effect_mandelbrot((90, 80), (-2, -1.5, 1, 1.5), 60).convert("RGB").save(path)
    return path


def request_of(tiny: Path, photo: Path, out: Path, *, drag: bool = True, **changes) -> DragRequest:
    points = (((30.0, 30.0),), ((34.0, 30.0),)) if drag else ((), ())
    asked = PhotoRequest(photo, **{"square": Placement(45, 40, 64, 3), "settings": QUICK, **changes})
    return DragRequest(tiny, "tiny", out, *points, photo=asked, changes=DRAGGED, animation=None)


@pytest.fixture(scope="module")
def dragged(tiny, photo, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dragged")
    result_of(run(request_of(tiny, photo, out)))
    return out


def test_a_photo_is_inverted_and_then_dragged(dragged):
    names = {path.name for path in dragged.iterdir()}
    assert {"before.png", "after.png", "recipe.json", "photo"} <= names
    inside = {"inversion.json", "adapter.safetensors", "latent.safetensors", "photo.png"}
    assert {path.name for path in (dragged / "photo").iterdir()} == inside


def test_the_recipe_knows_the_photo(dragged, photo):
    found = read_recipe(dragged / "recipe.json").start.photo
    assert found.square == (45.0, 40.0, 64.0, 3.0)
    assert found.strength == 1.0
    assert len(found.photo_sha256) == len(found.adapter_sha256) == 64


def test_a_replay_has_the_same_bits(dragged, tiny):
    session = replay(dragged, load_generator(tiny))
    assert torch.equal(session.w_plus, TensorFile(dragged / "latent.safetensors").load("w_plus"))


def test_a_replay_wears_the_adapter(dragged, tiny):
    bare = load_generator(tiny)
    session = replay(dragged, bare)
    assert not torch.equal(session.picture(), bare.image(session.w_plus))


def test_an_adapter_that_changed_since_is_refused(dragged, tiny, tmp_path):
    for path in dragged.rglob("*"):
        if path.is_file():
            (tmp_path / path.relative_to(dragged)).parent.mkdir(exist_ok=True)
            (tmp_path / path.relative_to(dragged)).write_bytes(path.read_bytes())
    adapter = tmp_path / "photo" / "adapter.safetensors"
    data = bytearray(adapter.read_bytes())
    data[-1] ^= 1
    adapter.write_bytes(data)
    with pytest.raises(FormatError, match="has changed since"):
        replay(tmp_path, load_generator(tiny))
    adapter.unlink()
    with pytest.raises(MissingError):
        replay(tmp_path, load_generator(tiny))


def test_without_handles_it_only_inverts_and_says_how_near_it_came(tiny, photo, tmp_path):
    events = list(run(request_of(tiny, photo, tmp_path, drag=False)))
    assert {"psnr_db", "psnr_styles_db", "adapter_bytes", "square", "out"} <= events[-1].values.keys()
    assert any(isinstance(event, Note) and "dB of the photo" in event.text for event in events)
    assert (tmp_path / "before.png").is_file()
    assert not (tmp_path / "recipe.json").exists()


def test_what_was_inverted_is_not_inverted_again(tiny, photo, tmp_path):
    list(run(request_of(tiny, photo, tmp_path, drag=False)))
    again = [event for event in run(request_of(tiny, photo, tmp_path)) if isinstance(event, Progress)]
    assert sum(event.what in ("styles", "adapter") for event in again) == 1
    assert any(event.what == "drag" for event in again)


def test_an_inversion_that_was_stopped_is_kept(tiny, photo, tmp_path):
    job = run(request_of(tiny, photo, tmp_path, drag=False))
    for event in job:
        if isinstance(event, Progress) and event.what == "adapter":
            break
    job.close()
    assert (tmp_path / "photo" / "working.safetensors").is_file()
    steps = [e.done for e in run(request_of(tiny, photo, tmp_path, drag=False)) if isinstance(e, Progress)]
    assert len(steps) < 8


@pytest.mark.parametrize("changes", [{"square": Placement(30, 40, 50)}, {"strength": 0.5}])
def test_another_square_or_strength_is_another_drag(tiny, photo, dragged, changes):
    before = json.loads((dragged / "recipe.json").read_text())
    with pytest.raises(RangeError, match=r"holds (another drag|the inversion of another picture)"):
        list(run(request_of(tiny, photo, dragged, **changes)))
    assert json.loads((dragged / "recipe.json").read_text()) == before


def test_settings_of_the_inversion_are_set_like_those_of_the_drag(tiny, photo, tmp_path, capfd):
    words = ["guesses=4", "style_steps=4", "detail_steps=1", "adapter_steps=3", "rank=2", "part_px=32"]
    settings = [part for word in words for part in ("--set", word)]
    command = ["drag", str(tiny), "--photo", str(photo), "--photo-square", "45,40,64,3", "--out", str(tmp_path / "out")]
    assert main([*command, *settings, "--json"]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {event["total"] for event in events if event["event"] == "progress"} >= {3, 4}


def test_a_setting_of_the_inversion_without_a_photo_is_refused(tiny, tmp_path, capfd):
    command = ["drag", str(tiny), "--handle", "8,8", "--target", "9,8", "--out", str(tmp_path / "out")]
    assert main([*command, "--set", "adapter_steps=3"]) == 2
    assert "adapter_steps is about a photo" in one_line(capfd)
