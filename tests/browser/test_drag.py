"""Dragging a picture as a person does: with the pointer, the keys, the brush, and all that can go wrong."""

from __future__ import annotations

import hashlib
import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

import live_drag
import serving
from needs import need
from trimtab.store.cards import models_folder

NARROW = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
FACE_WAIT_MS = 40_000


def ready(page: Page) -> Page:
    """Wait until the first picture stands."""
    page.locator(".drag[data-state=idle]").wait_for()
    return page


@pytest.fixture
def page(opening) -> Page:
    return ready(opening("#/drag"))


def canvas(page: Page):
    return page.get_by_role("application", name="Picture with points")


def spot(page: Page, x: float, y: float, size: int = 64) -> tuple[float, float]:
    """Give where a pixel of the picture is on the screen."""
    box = canvas(page).bounding_box()
    assert box is not None
    return box["x"] + (x + 0.5) * box["width"] / size, box["y"] + (y + 0.5) * box["height"] / size


def stroke(page: Page, *places: tuple[float, float], size: int = 64) -> None:
    """Press at the first place, go along, let go at the last."""
    page.mouse.move(*spot(page, *places[0], size))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*spot(page, *place, size), steps=3)
    page.mouse.up()


def points(page: Page) -> list[str]:
    return page.locator(".drag-pick").all_inner_texts()


def button(page: Page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def count(page: Page):
    return page.locator("output.drag-count").first


def rest(page: Page, said: str = "Paused|Arrived|Stopped") -> None:
    """Wait until the drag rests."""
    expect(page.locator(".drag-said")).to_have_text(re.compile(said))
    expect(button(page, "Pause")).to_have_count(0)


def step(page: Page, *, times: int = 1) -> None:
    """Take steps one by one; the first one is a moment of its own, that of the points."""
    for _ in range(times):
        before = count(page).inner_text()
        button(page, "One step").click()
        expect(count(page)).not_to_have_text(before)
        rest(page)


def saved(page: Page, name: str = "Save the picture as PNG") -> bytes:
    """Save something; give its bytes."""
    with page.expect_download() as download:
        button(page, name).click()
    return download.value.path().read_bytes()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture).astype(int)


def shown(page: Page, x: int = 20, y: int = 20) -> list[int]:
    """Give a few pixels of the canvas, of a copy of it: reading slows a canvas down, which browsers tell of."""
    return page.evaluate(
        """([x, y]) => {
          const copy = new OffscreenCanvas(8, 8).getContext("2d", { willReadFrequently: true });
          copy.drawImage(document.querySelector(".drag-canvas"), -x, -y);
          return [...copy.getImageData(0, 0, 8, 8).data];
        }""",
        [x, y],
    )


def test_one_gesture_makes_a_handle_and_its_target(page):
    expect(button(page, "Start")).to_be_disabled()
    stroke(page, (20, 20), (30, 20))
    expect(page.locator(".drag-pick")).to_have_text(["110.0 px"])
    expect(button(page, "Start")).to_be_enabled()


def test_a_press_without_a_pull_makes_no_point(page):
    page.mouse.click(*spot(page, 20, 20))
    assert points(page) == []
    expect(page.get_by_role("status").last).to_have_text("Pull from the handle to its target")


@pytest.mark.parametrize(("grip", "way"), [((30, 20), "20.0 px"), ((20, 20), "20.0 px")])
def test_both_ends_of_a_point_can_be_moved(page, grip, way):
    stroke(page, (20, 20), (30, 20))
    stroke(page, grip, (40, 20) if grip == (30, 20) else (10, 20))
    expect(page.locator(".drag-far")).to_have_text([way])


def test_points_are_removed_one_by_one_and_all_at_once(page):
    for y in (10, 30, 50):
        stroke(page, (20, y), (30, y))
    button(page, "Remove point 2").click()
    assert len(points(page)) == 2
    button(page, "Remove all points").click()
    assert points(page) == []


def test_a_point_is_pulled_and_its_distance_shrinks(page):
    stroke(page, (30, 30), (40, 30))
    step(page, times=4)
    left = float(page.locator(".drag-far").inner_text().split()[0])
    assert left < 9.95
    expect(page.locator(".drag-state")).to_have_text("left")


def test_start_runs_until_pause(page):
    stroke(page, (10, 10), (50, 50))
    button(page, "Start").click()
    expect(page.locator(".drag-said")).to_have_text(re.compile(r"^[5-9]|\d\d steps"))
    button(page, "Pause").click()
    rest(page, "Paused after")


def test_undoing_everything_gives_the_very_file_of_the_start(page):
    before = sha256(saved(page))
    stroke(page, (10, 10), (50, 50))
    step(page, times=2)
    assert sha256(saved(page)) != before
    undo = button(page, "Undo one step")
    for moment in (2, 1, 0):
        undo.click()
        expect(count(page)).to_have_text(f"{moment} of 3")
    expect(undo).to_be_disabled()
    assert sha256(saved(page)) == before


def test_what_was_undone_can_be_done_again(page):
    stroke(page, (10, 10), (50, 50))
    step(page, times=2)
    after = sha256(saved(page))
    button(page, "Undo one step").click()
    expect(count(page)).to_have_text("2 of 3")
    button(page, "Redo one step").click()
    expect(count(page)).to_have_text("3 of 3")
    assert sha256(saved(page)) == after


def test_the_history_is_a_slider(page):
    stroke(page, (10, 10), (50, 50))
    step(page, times=3)
    page.get_by_label("History").fill("1")
    expect(count(page)).to_have_text("1 of 4")


def test_before_and_after_are_side_by_side(page):
    split = page.get_by_label("Before and after")
    expect(split).to_be_disabled()
    before = shown(page)
    stroke(page, (10, 10), (50, 50))
    step(page, times=3)
    page.mouse.move(5, 5)
    assert shown(page) != before
    split.fill("100")
    page.wait_for_timeout(60)
    assert shown(page) == before


def test_a_painted_region_is_kept_to(page):
    before = pixels(saved(page))
    page.get_by_text("Brush").click()
    page.get_by_label("Size of the brush").fill("240")
    stroke(page, (26, 32), (44, 32))
    expect(page.get_by_text("Only what is not veiled may move.")).to_be_visible()
    page.get_by_text("Points", exact=True).first.click()
    stroke(page, (30, 32), (42, 32))
    step(page, times=4)
    change = np.abs(pixels(saved(page)) - before)
    assert change[:12].mean() < 4 / 255
    assert change[28:36, 28:42].mean() > 0.5


def test_the_brush_rubs_out_inverts_and_clears(page):
    expect(page.get_by_label("Size of the brush")).to_be_hidden()
    page.get_by_text("Brush").click()
    button(page, "Invert what may move").click()
    expect(page.get_by_text("Only what is not veiled may move.")).to_be_visible()
    clear, veiled = button(page, "Clear what was painted"), shown(page, 300, 300)
    page.get_by_text("Eraser").click()
    page.get_by_label("Size of the brush").fill("240")
    stroke(page, (20, 28), (40, 28))
    page.mouse.move(5, 5)
    page.wait_for_timeout(60)
    assert shown(page, 300, 300) != veiled
    clear.click()
    expect(page.get_by_text("Nothing is painted")).to_be_visible()
    expect(clear).to_be_disabled()


def test_a_mask_that_was_rubbed_out_wholly_is_told_and_the_points_stay(page, problems):
    stroke(page, (30, 30), (40, 30))
    page.get_by_text("Brush").click()
    stroke(page, (20, 20), (21, 21))
    page.get_by_text("Eraser").click()
    page.get_by_label("Size of the brush").fill("240")
    stroke(page, (10, 20), (30, 20))
    button(page, "Start").click()
    expect(page.get_by_role("alert")).to_contain_text("nothing may move")
    assert len(points(page)) == 1
    problems.clear()  # the browser tells of status 400


def test_everything_but_the_brush_can_be_done_by_keys(page):
    canvas(page).focus()
    page.keyboard.press("n")
    expect(page.locator(".drag-far")).to_have_text("4.0 px")
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator(".drag-far")).to_have_text("14.0 px")
    page.keyboard.press("Alt+ArrowUp")
    expect(page.locator(".drag-far")).to_have_text("15.0 px")
    page.keyboard.press("Space")
    expect(page.locator(".drag-said")).to_have_text(re.compile(r"\d steps"))
    page.keyboard.press("Space")
    rest(page)
    moment = int(count(page).inner_text().split()[0])
    page.keyboard.press("Control+z")
    expect(count(page)).to_have_text(re.compile(f"^{moment - 1} of"))
    page.keyboard.press("Delete")
    assert points(page) == []


def test_another_picture_is_chosen_from_the_strip(page):
    before = page.url
    button(page, "Seed 3").click()
    expect(button(page, "Seed 3")).to_have_attribute("aria-pressed", "true")
    page.wait_for_url(lambda url: url != before)
    ready(page)
    expect(page.get_by_label("Seed", exact=True)).to_have_value("3")
    button(page, "Later seeds").click()
    expect(button(page, "Seed 8")).to_be_visible()


def test_a_typed_seed_is_shown(page):
    field = page.get_by_label("Seed", exact=True)
    field.fill("1234")
    field.press("Enter")
    expect(button(page, "Seed 1234")).to_have_attribute("aria-pressed", "true")


def test_a_reload_goes_on_with_the_same_drag(page):
    stroke(page, (10, 10), (50, 50))
    step(page, times=2)
    after = sha256(saved(page))
    page.reload()
    ready(page)
    expect(count(page)).to_have_text("3 of 3")
    assert len(points(page)) == 1
    assert sha256(saved(page)) == after


def test_a_kept_drag_is_listed_opened_and_deleted(page):
    stroke(page, (10, 10), (50, 50))
    step(page, times=2)
    kept = page.locator(".drag-kept a[aria-current]")
    expect(kept).to_contain_text("2 steps")
    href = kept.get_attribute("href")
    button(page, "Seed 3").click()
    expect(page.locator(".drag-kept a[aria-current]")).to_have_count(0)
    page.locator(f'.drag-kept a[href="{href}"]').click()
    ready(page)
    expect(count(page)).to_have_text("3 of 3")
    page.locator(".drag-kept li", has=page.locator(f'a[href="{href}"]')).get_by_role("button").click()
    expect(page.locator(f'.drag-kept a[href="{href}"]')).to_have_count(0)


@pytest.mark.parametrize("kind", ["GIF", "WebP"])
def test_the_way_there_is_saved_as_a_moving_picture(page, kind):
    name = f"Save the way there as an animated {kind}"
    expect(button(page, name)).to_be_disabled()
    stroke(page, (10, 10), (50, 50))
    step(page, times=3)
    with Image.open(io.BytesIO(saved(page, name))) as moving:
        assert (moving.format, moving.n_frames > 2) == (kind.upper(), True)


@pytest.mark.parametrize("name", ["Save the latent code", "Save the recipe that makes it again"])
def test_latent_and_recipe_are_saved(page, name):
    stroke(page, (10, 10), (50, 50))
    step(page)
    assert len(saved(page, name)) > 100


def test_a_finger_makes_a_point_too(opening):
    page = ready(opening("#/drag", **NARROW))
    session = page.context.new_cdp_session(page)
    for kind, place in (("touchStart", (20, 20)), ("touchMove", (34, 20)), ("touchEnd", None)):
        touches = [] if place is None else [dict(zip("xy", spot(page, *place), strict=True))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
    expect(page.locator(".drag-far")).to_have_text("14.0 px")


def test_an_address_of_a_drag_that_is_gone_is_told(opening, problems):
    page = opening("#/drag/000000000000")
    expect(page.get_by_role("alert")).to_contain_text("is not kept")
    problems.clear()  # the browser tells of status 404


def test_the_page_goes_on_when_the_server_is_back(opening, problems, tmp_path):
    with live_drag.dragging(tmp_path) as first:
        page = ready(opening("#/drag", url=first.url))
        stroke(page, (10, 10), (50, 50))
        step(page, times=2)
        expect(page.locator(".drag-kept a")).to_have_count(1)
    expect(page.get_by_role("alert")).to_contain_text("connection to the server is lost")
    with live_drag.dragging(tmp_path, port=first.port):
        ready(page)
        expect(page.get_by_role("alert")).to_have_count(0)
        expect(count(page)).to_have_text("3 of 3")
        step(page)
        page.goto("about:blank")
    problems.clear()  # the browser tells of refused connections


def test_a_token_that_is_asked_for_opens_the_socket_too(opening, problems, tmp_path):
    with live_drag.dragging(tmp_path, token="a token/with=odd characters") as guarded:
        page = opening("#/drag", url=guarded.url)
        page.get_by_role("textbox", name="Token").fill("a token/with=odd characters")
        page.get_by_role("button", name="Continue").click()
        ready(page)
        page.goto("about:blank")
    problems.clear()  # the browser tells of status 401


def test_without_a_generator_the_page_says_how_to_get_one(opening, problems):
    with serving.serving(without_model=True) as bare:
        page = opening("#/drag", url=bare.url)
        expect(page.get_by_role("alert")).to_contain_text("trimtab models add face")
        page.goto("about:blank")
    problems.clear()  # the browser tells of status 404


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
    expect(page.get_by_label("History")).to_be_enabled()
    page.wait_for_timeout(200)
    assert sha256(saved(page)) == full


def test_a_file_that_is_no_photo_is_told(page, problems, tmp_path):
    (tmp_path / "note.png").write_text("not a picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "note.png")
    expect(page.get_by_role("alert")).to_contain_text("no picture that can be read whole")
    problems.clear()  # the browser tells of status 422


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
    page.get_by_label("Seed", exact=True).fill("5")
    page.get_by_label("Seed", exact=True).press("Enter")
    page.wait_for_timeout(300)
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
