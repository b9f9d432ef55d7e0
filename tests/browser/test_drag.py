"""Dragging a picture as a person does: with the pointer, the keys, the brush."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from drag_gestures import button, canvas, count, pixels, points, ready, rest, saved, sha256, shown, spot, step, stroke

NARROW = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


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
