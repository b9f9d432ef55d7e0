"""What a person does on the drag view: waiting, pointing, pulling, stepping, saving."""

from __future__ import annotations

import hashlib
import io
import re

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect


def ready(page: Page) -> Page:
    """Wait until the first picture stands."""
    page.locator(".drag[data-state=idle]").wait_for()
    return page


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


def settled(page: Page, x: int = 20, y: int = 20) -> list[int]:
    """Give the same when all that is to be painted has been."""
    page.evaluate("() => new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)))")
    return shown(page, x, y)
