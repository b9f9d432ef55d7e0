"""Narrow and wide, light and dark, with and without a mouse."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from talk import answer_with, ask, begun, done, send, stream

PATHS = ["#/chat", "#/drag", "#/runs", "#/runs/demo"]
READY = ".picker select, .drag[data-state=idle], .run, .chart-drawing .line"
NAMELESS = ("- button", "- link", "- textbox", "- combobox")
NARROW = {"width": 360, "height": 740}
UNRULY = "word" * 60 + "\n\n```\n" + "code " * 60 + "\n```\n\n`" + "x" * 200 + "`\n\n1. " + "y" * 200
LUMINANCE = """element => {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = getComputedStyle(element).backgroundColor;
  context.fillRect(0, 0, 1, 1);
  const [r, g, b] = context.getImageData(0, 0, 1, 1).data;
  return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
}"""
CONTRAST = """() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const pixel = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    const parts = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const seen = element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (!own || !seen || element.matches(":disabled, .unseen")) continue;
    const behind = [];
    for (let one = element; one; one = one.parentElement) behind.unshift(getComputedStyle(one).backgroundColor);
    const colour = getComputedStyle(element)[element.namespaceURI.endsWith("svg") ? "fill" : "color"];
    const [a, b] = [pixel(behind), pixel([...behind, colour])].sort((x, y) => x - y);
    const contrast = (b + 0.05) / (a + 0.05);
    if (contrast < 4.5) poor.push(`${element.textContent.slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return poor;
}"""

FOCUS = """() => {
  const one = document.activeElement;
  // The box around the message's field shows the focus for it, as a coloured edge.
  const seen = one === document.body || getComputedStyle(one).outlineStyle !== "none" || one.matches(".composer-box *");
  return [one.outerHTML.slice(0, 90), seen];
}"""


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def scrolls_sideways(page) -> list[str]:
    """Give what is wider than its place, besides code, which may scroll."""
    return page.evaluate(
        """[...document.querySelectorAll("main, .log, .sheet, .chat, .bar, .sidebar, .drag-panel, .drag-desk")]
           .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.className || one.tagName)"""
    )


def test_a_narrow_chat_does_not_scroll_sideways(opening):
    page = opening(viewport=NARROW, has_touch=True, is_mobile=True)
    answer_with(page, stream(UNRULY))
    ask(page, "long" * 100)
    page.get_by_role("button", name="Side by side").click()
    ask(page, "short", count=3)
    assert fits(page)
    assert not scrolls_sideways(page)


@pytest.mark.parametrize("path", PATHS)
def test_no_width_scrolls_sideways(opening, path):
    page = opening(path)
    expect(page.locator(READY).first).to_be_visible()
    for width in (320, 360, 600, 820, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        assert fits(page)
        assert not scrolls_sideways(page)


def test_on_a_narrow_screen_answers_stand_below_each_other(opening):
    page = opening(viewport=NARROW)
    page.get_by_role("button", name="Side by side").click()
    ask(page, "hello", count=2)
    left, right = (page.locator("article.answer").nth(column).bounding_box() for column in (0, 1))
    assert left["y"] + left["height"] <= right["y"]


def test_on_a_narrow_screen_conversations_open_and_close(opening):
    page = opening(viewport=NARROW)
    ask(page, "hello")
    fresh = page.get_by_role("button", name="New conversation")
    expect(fresh).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    expect(fresh).to_be_focused()
    page.keyboard.press("Escape")
    expect(fresh).to_be_hidden()
    expect(page.get_by_role("button", name="Conversations")).to_be_focused()


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_page_is_as_light_as_the_system(opening, scheme, dark):
    page = opening(color_scheme=scheme)
    assert (page.locator("body").evaluate(LUMINANCE) < 0.2) is dark


def test_a_theme_chosen_by_hand_goes_before_the_systems_and_is_kept(opening):
    page = opening(color_scheme="dark")
    page.get_by_role("button", name="Theme: as the system").click()
    expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
    page.reload()
    assert page.locator("body").evaluate(LUMINANCE) > 0.8
    page.get_by_role("button", name="Theme: light").click()
    page.get_by_role("button", name="Theme: dark").click()
    expect(page.get_by_role("button", name="Theme: as the system")).to_be_visible()
    assert page.locator("body").evaluate(LUMINANCE) < 0.2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(opening, path, scheme):
    page = opening(path, color_scheme=scheme)
    expect(page.locator(READY).first).to_be_visible()
    if path == "#/chat":
        answer_with(page, stream("# Head\n\n> quote `code`\n\n[link](https://example.org)\n\n```\ncode\n```"))
        ask(page, "hello")
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("path", PATHS)
def test_focus_is_seen_wherever_it_goes(opening, path):
    page = opening(path)
    expect(page.locator(READY).first).to_be_visible()
    places = []
    for _ in range(22):
        page.keyboard.press("Tab")
        places.append(page.evaluate(FOCUS))
    assert not [place for place, seen in places if not seen]
    assert len({place for place, _ in places}) > 4


@pytest.mark.parametrize("path", PATHS)
def test_everything_that_can_be_used_has_a_name(opening, path):
    page = opening(path)
    expect(page.locator(READY).first).to_be_visible()
    tree = page.locator("body").aria_snapshot()
    assert not [line for line in tree.splitlines() if line.strip().rstrip(":") in NAMELESS]


@pytest.mark.parametrize(("wanted", "moves"), [("reduce", False), ("no-preference", True)])
def test_whoever_wants_less_motion_gets_none(opening, wanted, moves):
    page = opening(reduced_motion=wanted, tokens=60)
    send(page, "hello")
    begun(page)
    assert page.evaluate("document.getAnimations().length > 0") is moves
    done(page)


def test_an_address_that_is_typed_wrong_leads_to_the_first_view(opening):
    page = opening("#/nowhere/%E0%A4%A")
    expect(page.get_by_role("link", name="Chat")).to_have_attribute("aria-current", "page")
    done(page, 0)
