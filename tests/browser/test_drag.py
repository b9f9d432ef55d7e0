"""Dragging a picture as a person does: with the pointer, the keys, the brush."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from drag_gestures import (
    button,
    canvas,
    count,
    pixels,
    points,
    ready,
    rest,
    saved,
    settled,
    sha256,
    shown,
    spot,
    step,
    stroke,
)
from serving import eventually

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
    # Pressed by the page itself: on a slow day the limit of steps would come before a test does.
    page.evaluate(
        """() => {
          const said = document.querySelector(".drag-said");
          new MutationObserver((_, watch) => {
            if (parseInt(said.textContent) < 5) return;
            watch.disconnect();
            document.querySelector(".drag-go").click();
          }).observe(said, { childList: true });
        }"""
    )
    button(page, "Start").click()
    rest(page, r"Paused after ([5-9]|\d\d) steps")
    assert int(count(page).inner_text().split()[-1]) >= 5


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
    before = settled(page)
    stroke(page, (10, 10), (50, 50))
    step(page, times=3)
    page.mouse.move(5, 5)
    assert eventually(lambda: shown(page) != before)
    split.fill("100")
    assert eventually(lambda: shown(page) == before)


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
    clear = button(page, "Clear what was painted")
    veiled = settled(page, 300, 300)
    page.get_by_text("Eraser").click()
    page.get_by_label("Size of the brush").fill("240")
    stroke(page, (20, 28), (40, 28))
    page.mouse.move(5, 5)
    assert eventually(lambda: shown(page, 300, 300) != veiled)
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


def test_undo_by_keys_takes_back_a_point_that_was_not_sent(page):
    for y in (20, 40):
        stroke(page, (20, y), (30, y))
    page.keyboard.press("Control+z")
    expect(page.locator(".drag-pick")).to_have_count(1)
    page.keyboard.press("Control+z")
    expect(page.locator(".drag-pick")).to_have_count(0)
    page.keyboard.press("Control+z")
    stroke(page, (20, 20), (30, 20))
    step(page)
    expect(count(page)).to_have_text("2 of 2")
    stroke(page, (20, 40), (30, 40))
    page.keyboard.press("Control+z")
    expect(page.locator(".drag-pick")).to_have_count(1)
    expect(count(page)).to_have_text("2 of 2")
    button(page, "One step").click()
    expect(count(page)).to_have_text("3 of 3")


def test_undo_by_keys_does_nothing_where_nothing_can_be_undone(page):
    said = page.evaluate(
        """() => new Promise((resolve) => {
          const said = [];
          const send = WebSocket.prototype.send;
          WebSocket.prototype.send = function (text) { said.push(text); send.call(this, text); };
          dispatchEvent(new KeyboardEvent("keydown", { key: "z", ctrlKey: true, bubbles: true }));
          document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "z", ctrlKey: true, bubbles: true }));
          setTimeout(() => { WebSocket.prototype.send = send; resolve(said); }, 100);
        })"""
    )
    assert said == []


def test_a_pause_is_said_once_while_points_are_moved(page):
    stroke(page, (10, 10), (50, 50))
    page.evaluate(
        """() => {
          window.pauses = 0;
          const send = WebSocket.prototype.send;
          WebSocket.prototype.send = function (text) {
            window.pauses += text.includes("pause");
            send.call(this, text);
          };
        }"""
    )
    button(page, "Start").click()
    expect(page.locator(".drag-said")).to_have_text(re.compile(r"\d step"))
    page.evaluate(
        """([from, to]) => {
          const canvas = document.querySelector(".drag-canvas");
          const send = (type, [clientX, clientY]) => canvas.dispatchEvent(
            new PointerEvent(type, { clientX, clientY, pointerId: 1, isPrimary: true, bubbles: true }));
          canvas.setPointerCapture = () => {};
          send("pointerdown", from);
          for (let number = 0; number < 200; number += 1) send("pointermove", [to[0] + number / 4, to[1]]);
          send("pointerup", to);
        }""",
        [spot(page, 10, 40), spot(page, 30, 40)],
    )
    rest(page, "2 points set")
    assert 1 <= page.evaluate("window.pauses") < 4


def test_another_picture_is_chosen_from_the_strip(page):
    before = page.url
    button(page, "Seed 3").click()
    expect(button(page, "Seed 3")).to_have_attribute("aria-pressed", "true")
    page.wait_for_url(lambda url: url != before)
    ready(page)
    expect(page.get_by_label("Seed", exact=True)).to_have_value("3")
    button(page, "Later seeds").click()
    expect(button(page, "Seed 8")).to_be_visible()


def test_a_typed_seed_is_shown(page, server):
    before = page.url
    field = page.get_by_label("Seed", exact=True)
    field.fill("1234")
    field.press("Enter")
    expect(button(page, "Seed 1234")).to_have_attribute("aria-pressed", "true")
    page.wait_for_url(lambda url: url != before)
    ready(page)
    with server.http() as http:
        assert http.get(f"/api/drag/sessions/{page.url.rsplit('/', 1)[1]}").json()["seed"] == 1234


def test_a_reload_goes_on_with_the_same_drag(page):
    stroke(page, (10, 10), (50, 50))
    step(page, times=2)
    after = sha256(saved(page))
    page.reload()
    ready(page)
    expect(count(page)).to_have_text("3 of 3")
    assert len(points(page)) == 1
    assert sha256(saved(page)) == after


def test_points_that_were_set_and_not_pulled_survive_a_reload(page):
    stroke(page, (10, 10), (50, 50))
    step(page, times=1)
    stroke(page, (30, 10), (40, 10))
    before = points(page)
    assert len(before) == 2
    page.reload()
    ready(page)
    expect(page.locator(".drag-said")).to_have_text("2 points set. Start pulls them")
    assert points(page) == before
    step(page)
    page.reload()
    ready(page)
    expect(page.locator(".drag-said")).to_contain_text("Paused after 1 step")


def test_points_of_one_drag_are_not_shown_in_another(page):
    stroke(page, (10, 10), (50, 50))
    button(page, "Seed 3").click()
    page.get_by_role("button", name="Seed 3", exact=True, pressed=True).wait_for()
    ready(page)
    assert points(page) == []


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


def test_saving_a_moving_picture_changes_nothing_in_the_page(page):
    stroke(page, (10, 10), (50, 50))
    step(page, times=3)
    page.get_by_label("Before and after").fill("40")
    said = page.locator(".drag-said").inner_text()
    page.evaluate(
        """() => {
          window.counts = new Set();
          const count = document.querySelector("output.drag-count");
          new MutationObserver(() => window.counts.add(count.textContent)).observe(count, { childList: true });
        }"""
    )
    saved(page, "Save the way there as an animated GIF")
    expect(page.locator(".drag-said")).to_have_text(said)
    assert set(page.evaluate("[...window.counts]")) <= {"4 of 4"}
    expect(page.get_by_label("Before and after")).to_have_value("40")


def test_what_cannot_be_saved_stays_so_after_saving(page):
    saved(page)
    expect(button(page, "Save the picture as PNG")).to_be_enabled()
    expect(button(page, "Save the way there as an animated GIF")).to_be_disabled()


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


def test_two_fingers_leave_no_point(opening):
    page = ready(opening("#/drag", **NARROW))
    session = page.context.new_cdp_session(page)

    def touch(kind, *places):
        points = [dict(zip("xy", spot(page, *place), strict=True), id=finger) for finger, place in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (20, 20))
    touch("touchMove", (26, 20))
    expect(page.locator(".drag-pick")).to_have_count(1)
    touch("touchStart", (26, 20), (40, 40))
    touch("touchMove", (15, 15), (45, 45))
    touch("touchMove", (10, 10), (55, 55))
    touch("touchEnd")
    expect(page.locator(".drag-pick")).to_have_count(0)
    expect(button(page, "Start")).to_be_disabled()


def test_a_view_that_was_left_fetches_no_more(opening):
    page, held = opening("#/runs"), []
    page.route("**/thumbnail?**", lambda route: held.append(route))
    page.evaluate("location.hash = '#/drag'")
    assert eventually(lambda: page.wait_for_timeout(20) is None and bool(held))
    page.evaluate("location.hash = '#/runs'")
    expect(page.locator(".drag")).to_have_count(0)
    held[0].continue_()
    page.wait_for_timeout(200)
    assert len(held) == 1
