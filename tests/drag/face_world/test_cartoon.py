"""The small generator that comes with the package: found by its name, true to the world it was taught, frozen."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from faces import faces
from one_line import one_line
from trimtab.cli.main import run as command
from trimtab.drag.face_world.fit import FitSettings, fit_faces
from trimtab.drag.face_world.parameters import parameters
from trimtab.drag.face_world.render import render
from trimtab.models.stylegan.load import load_generator
from trimtab.models.stylegan.mean import mean_style
from trimtab.models.stylegan.preview import psnr
from trimtab.models.stylegan.stylegan2 import StyleGan2
from trimtab.store.cards import read_card
from trimtab.store.resolve import resolve

pytestmark = pytest.mark.usefixtures("own_store")
MOST_BYTES = 5_000_000
LEAST_DB = 27.0
UNSEEN = 16


@pytest.fixture(scope="module")
def folder() -> Path:
    return resolve("cartoon")


@pytest.fixture(scope="module")
def cartoon(folder) -> StyleGan2:
    net = load_generator(folder)
    assert isinstance(net, StyleGan2)
    return net


def said(words: list[str], capfd) -> str:
    assert command(words) == 0
    return capfd.readouterr().out


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_is_small(folder):
    assert (folder / "generator.safetensors").stat().st_size <= MOST_BYTES


def test_its_card_tells_licence_origin_and_hash(folder):
    card = read_card(folder)
    assert card.licence == "Apache-2.0"
    assert card.source == "bench/training/distil_cartoon.py"
    assert "no GAN" in card.note
    assert card.sha256 == digest(folder / "generator.safetensors")


def test_it_draws_unseen_faces_as_the_renderer_does(cartoon):
    latents = faces(UNSEEN, seed=123)
    with torch.no_grad():
        made = cartoon.image(cartoon.w_plus(cartoon.map(latents)))
    drawn = render(parameters(latents))
    found = [psnr(a[None], b[None]) for a, b in zip(made, drawn, strict=True)]
    assert sum(found) / UNSEEN > LEAST_DB


def test_its_mean_style_is_that_of_many_latents(cartoon):
    torch.testing.assert_close(cartoon.w_mean, mean_style(cartoon.map, cartoon.z_width), atol=1e-3, rtol=0)


def test_the_fit_explains_its_pictures(cartoon):
    latents = faces(2, seed=9)
    with torch.no_grad():
        made = cartoon.image(cartoon.w_plus(cartoon.map(latents)))
    assert fit_faces(made, start=latents, settings=FitSettings(steps=20)).residual.max() < 16


def test_it_is_listed_before_anything_was_fetched(capfd, folder):
    events = [json.loads(line) for line in said(["models", "list", "--json"], capfd).splitlines()]
    assert {"name": "cartoon", "path": str(folder)} in events[-1]["models"]


def test_it_is_shown_with_its_sizes(capfd):
    shown = json.loads(said(["models", "show", "cartoon", "--json"], capfd).splitlines()[-1])
    assert (shown["kind"], shown["resolution"], shown["licence"]) == ("stylegan2", 64, "Apache-2.0")


def test_its_path_is_printed(capfd, folder):
    assert said(["models", "path", "cartoon"], capfd).strip() == str(folder)


def test_adding_it_says_that_there_is_nothing_to_fetch(capfd):
    events = [json.loads(line) for line in said(["models", "add", "cartoon", "--json"], capfd).splitlines()]
    assert events[-1]["added"] is False
    assert "comes with trimtab" in events[1]["text"]


def test_it_cannot_be_removed(capfd, folder):
    assert command(["models", "remove", "cartoon"]) == 2
    assert "comes with trimtab" in one_line(capfd)
    assert (folder / "generator.safetensors").is_file()


def test_a_near_name_is_recognised(capfd, tmp_path):
    assert command(["drag", "cartun", "--handle", "1,1", "--target", "2,2", "--out", str(tmp_path / "o")]) == 2
    assert "'cartoon'" in one_line(capfd)


def test_a_drag_from_words_to_pictures_changes_no_byte_of_it(capfd, folder, tmp_path):
    files = {path.name: digest(path) for path in folder.iterdir()}
    points = ["--handle", "32,44", "--target", "35,44"]
    words = ["drag", "cartoon", "--seed", "7", *points, "--steps", "8", "--out", str(tmp_path / "o"), "--json"]
    result = json.loads(said(words, capfd).splitlines()[-1])
    assert result["steps"] >= 1
    with Image.open(tmp_path / "o" / "before.png") as before, Image.open(tmp_path / "o" / "after.png") as after:
        assert before.size == after.size == (64, 64)
        assert before.tobytes() != after.tobytes()
    assert {path.name: digest(path) for path in folder.iterdir()} == files
