"""What goes wrong while a picture is dragged is told in the page, and nothing is lost."""

from __future__ import annotations

from playwright.sync_api import expect

import live_drag
import serving
from drag_gestures import button, count, points, ready, step, stroke


def key_of(page) -> str:
    return page.url.rsplit("/", 1)[1]


def point_under_an_emptied_mask(page) -> None:
    """Set a point, paint a little, and rub all of it out."""
    stroke(page, (30, 30), (40, 30))
    page.get_by_text("Brush").click()
    stroke(page, (20, 20), (21, 21))
    page.get_by_text("Eraser").click()
    page.get_by_label("Size of the brush").fill("240")
    stroke(page, (10, 20), (30, 20))


def test_a_mask_that_was_rubbed_out_wholly_is_told_and_the_points_stay(page, problems):
    problems.expect("status of 400")
    point_under_an_emptied_mask(page)
    button(page, "Start").click()
    expect(page.get_by_role("alert")).to_contain_text("nothing may move")
    assert len(points(page)) == 1


def test_a_mask_that_was_refused_is_sent_again(page, problems):
    problems.expect("status of 400")
    point_under_an_emptied_mask(page)
    for _ in range(2):
        with page.expect_response(lambda response: response.url.endswith("/mask")) as sent:
            button(page, "Start").click()
        assert sent.value.status == 400
    expect(page.get_by_role("alert")).to_contain_text("nothing may move")
    assert count(page).inner_text() == "0 of 0"


def test_a_drag_that_is_deleted_elsewhere_is_told(page, problems, server):
    problems.expect("status of 404")
    stroke(page, (10, 10), (50, 50))
    step(page)
    with server.http() as http:
        assert http.delete(f"/api/drag/sessions/{key_of(page)}").status_code == 204
    expect(page.get_by_role("alert")).to_contain_text("is not kept. Choose one from the list")
    expect(button(page, "One step")).to_be_disabled()


def test_a_drag_that_could_not_be_deleted_stays(page, problems):
    problems.expect("status of 500")
    stroke(page, (10, 10), (50, 50))
    step(page)
    current = page.locator(".drag-kept li", has=page.locator("a[aria-current]"))
    expect(current).to_have_count(1)
    url = page.url
    page.route("**/api/drag/sessions/*", lambda route: route.fulfill(status=500, body="{}"))
    current.get_by_role("button").click()
    expect(page.get_by_role("alert")).to_contain_text("The server failed (500)")
    page.unroute_all()
    step(page)
    assert page.url == url


def test_deleting_the_drag_that_is_shown_begins_another_without_a_word(page):
    stroke(page, (10, 10), (50, 50))
    step(page)
    current = page.locator(".drag-kept li", has=page.locator("a[aria-current]"))
    expect(current).to_have_count(1)
    url = page.url
    page.evaluate(
        """() => {
          window.alarms = 0;
          new MutationObserver(() => { window.alarms += document.querySelectorAll("[role=alert]").length; })
            .observe(document.querySelector(".drag-trouble"), { childList: true });
        }"""
    )
    current.get_by_role("button").click()
    page.wait_for_url(lambda now: now != url)
    ready(page)
    assert page.evaluate("window.alarms") == 0


def test_a_list_that_cannot_be_read_is_told(page, problems):
    problems.expect("ERR_FAILED")
    stroke(page, (10, 10), (50, 50))
    page.route("**/api/drag", lambda route: route.abort())
    button(page, "One step").click()
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")


def test_a_server_that_is_busy_for_a_moment_is_asked_again(opening, page, problems):
    problems.expect("status of 429")
    url, asked = page.url, []

    def refuse_once(route):
        asked.append(route)
        if len(asked) > 1:
            route.continue_()
        else:
            route.fulfill(status=429, json={"error": {"message": "4 pictures are at work."}})

    page.route(f"**/sessions/{key_of(page)}", refuse_once)
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("4 pictures are at work. The page tries again.")
    ready(page)
    assert (page.url, len(asked)) == (url, 2)


def test_a_slider_on_a_fast_screen_is_not_let_go(page):
    stroke(page, (10, 10), (50, 50))
    step(page, times=3)
    sent = page.evaluate(
        """() => new Promise((resolve) => {
          const slider = document.querySelector("[aria-label=History]");
          const send = WebSocket.prototype.send;
          let sent = 0;
          WebSocket.prototype.send = function (text) { sent += text.includes("go_to"); send.call(this, text); };
          for (let number = 0; number < 300; number += 1) {
            slider.value = number % 4;
            slider.dispatchEvent(new Event("input"));
          }
          slider.value = 1;
          slider.dispatchEvent(new Event("input"));
          setTimeout(() => { WebSocket.prototype.send = send; resolve(sent); }, 1000);
        })"""
    )
    expect(count(page)).to_have_text("1 of 4")
    assert 2 <= sent < 20
    expect(page.get_by_role("alert")).to_have_count(0)


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
