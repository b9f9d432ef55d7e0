"""Photos, and the generator of faces, in the page."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

import live_drag
import serving
from drag_gestures import button, count, pixels, ready, saved, sha256, step, stroke
from needs import need
from serving import eventually
from trimtab.store.cards import models_folder

FACE_WAIT_MS = 40_000


@pytest.fixture
def plain_photo(tmp_path):
    """A photo without a face."""
    slope = np.linspace(0, 255, 160 * 120 * 3).reshape(120, 160, 3).astype(np.uint8)
    Image.fromarray(slope).save(tmp_path / "slope.png")
    return tmp_path / "slope.png"


def test_a_photo_is_placed_by_hand_made_a_picture_and_dragged(page, plain_photo):
    page.locator("input[type=file]").set_input_files(plain_photo)
    dialog = page.get_by_role("dialog", name="Photo")
    expect(dialog).to_contain_text("No face was found")
    for key in ("ArrowRight", "Shift+ArrowUp", "-", "Shift+."):
        page.keyboard.press(key)
    button(page, "Use this square").click()
    expect(dialog).to_be_hidden()
    strength = page.get_by_label("Strength of the photo's adapter")
    expect(strength).to_be_visible(timeout=FACE_WAIT_MS)
    ready(page)
    expect(page.get_by_text("dB to the photo;")).to_be_visible()
    full = sha256(saved(page))
    stroke(page, (10, 10), (50, 50))
    step(page)
    strength.fill("0")
    expect(page.locator(".drag-kept a[aria-current]")).to_contain_text("photo")
    button(page, "Undo one step").click()
    button(page, "Undo one step").click()
    expect(count(page)).to_have_text("0 of 2")
    assert sha256(saved(page)) != full
    strength.fill("1")
    assert eventually(lambda: sha256(saved(page)) == full)


def test_a_file_that_is_no_photo_is_told(page, problems, tmp_path):
    problems.expect("status of 422")
    (tmp_path / "note.png").write_text("not a picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "note.png")
    expect(page.get_by_role("alert")).to_contain_text("no picture that can be read whole")


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    folder = models_folder() / "face"
    need(folder.is_dir(), "the face generator", "Run: trimtab models add face")
    desks = live_drag.desks(tmp_path_factory.mktemp("face"), face=folder)
    with serving.serving(without_model=True, desks=desks) as running:
        yield running


def test_a_mouth_is_opened_inside_a_mask_and_closed_again_to_the_byte(opening, face):
    """On the real generator: the point moves, what is outside the mask stays, and undo gives the file of the start."""
    page = opening("#/drag", url=face.url)
    page.set_default_timeout(FACE_WAIT_MS)
    ready(page)
    expect(button(page, "Start")).to_be_disabled()
    before = page.url
    page.get_by_label("Seed", exact=True).fill("5")
    page.get_by_label("Seed", exact=True).press("Enter")
    page.wait_for_url(lambda url: url != before)
    ready(page)
    start = saved(page)
    page.get_by_text("Brush").click()
    page.get_by_label("Size of the brush").fill("240")
    stroke(page, (400, 790), (640, 790), size=1024)
    page.get_by_text("Points", exact=True).first.click()
    stroke(page, (515, 790), (515, 814), size=1024)
    button(page, "Start").click()
    expect(page.locator(".drag-said")).to_have_text(re.compile("Arrived"), timeout=FACE_WAIT_MS)
    change = np.abs(pixels(saved(page)) - pixels(start))
    assert change[:600].mean() < 4
    assert change[760:830, 440:600].mean() > 6
    page.get_by_label("History").fill("0")
    expect(count(page)).to_have_text(re.compile("^0 of"))
    assert sha256(saved(page)) == sha256(start)
