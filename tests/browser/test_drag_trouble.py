"""What goes wrong while a picture is dragged is told in the page, and nothing is lost."""

from __future__ import annotations

from playwright.sync_api import expect

import live_drag
import serving
from drag_gestures import button, count, points, ready, step, stroke


def test_a_mask_that_was_rubbed_out_wholly_is_told_and_the_points_stay(page, problems):
    problems.expect("status of 400")
    stroke(page, (30, 30), (40, 30))
    page.get_by_text("Brush").click()
    stroke(page, (20, 20), (21, 21))
    page.get_by_text("Eraser").click()
    page.get_by_label("Size of the brush").fill("240")
    stroke(page, (10, 20), (30, 20))
    button(page, "Start").click()
    expect(page.get_by_role("alert")).to_contain_text("nothing may move")
    assert len(points(page)) == 1


def test_an_address_of_a_drag_that_is_gone_is_told(opening, problems):
    problems.expect("status of 404")
    page = opening("#/drag/000000000000")
    expect(page.get_by_role("alert")).to_contain_text("is not kept")


def test_the_page_goes_on_when_the_server_is_back(opening, problems, tmp_path):
    problems.expect("ERR_CONNECTION_REFUSED", "WebSocket connection")
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


def test_a_token_that_is_asked_for_opens_the_socket_too(opening, problems, tmp_path):
    problems.expect("status of 401")
    with live_drag.dragging(tmp_path, token="a token/with=odd characters") as guarded:
        page = opening("#/drag", url=guarded.url)
        page.get_by_role("textbox", name="Token").fill("a token/with=odd characters")
        page.get_by_role("button", name="Continue").click()
        stroke(ready(page), (30, 30), (40, 30))
        step(page)
        expect(count(page)).to_have_text("2 of 2")
        page.goto("about:blank")


def test_without_a_generator_the_page_says_how_to_get_one(opening, problems):
    problems.expect("status of 404")
    with serving.serving(without_model=True) as bare:
        page = opening("#/drag", url=bare.url)
        expect(page.get_by_role("alert")).to_contain_text("trimtab models add face")
        page.goto("about:blank")
