"""A drag in the page, in a real browser, judged by the landmark detector: nothing of the engine's own is believed.

`trimtab serve --generator face` runs; Chromium opens the page, chooses a face, paints what may move round its mouth,
pulls the two corners of the mouth, and saves PNG files before, after, and after undoing everything.

    python bench/drag_in_page.py [--seed 5] [--keep DIR] [--json rows.json]

Needs `trimtab models add face`, `make .venv/.landmarks`, playwright (a test extra) and Chromium.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from torch import Tensor

from _landmarks import Landmarks
from _table import print_table

COLUMNS = ("what", "measured", "goal")
RESOLUTION = 1024
CORNERS = (61, 291)  # of the mouth, in the detector's mesh
LIPS = (61, 291, 0, 17)
PULL = torch.tensor([[-20.0, -14.0], [20.0, -14.0]], dtype=torch.float64)
AROUND_PX = 60
"""How far beyond the lips the mask reaches."""
WAIT_MS = 120_000


def main(argv: list[str]) -> None:
    """Drag, judge and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="keep the pictures here")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with Landmarks() as landmarks, served() as url, browsing(url) as page:
            rows = judge(page, landmarks, given.seed, folder)
    print_table(rows, COLUMNS)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


@contextmanager
def served() -> Iterator[str]:
    """Run the server on any free port; give its address."""
    command = [shutil.which("trimtab", path=str(Path(sys.executable).parent)) or "trimtab", "serve", "--port", "0"]
    with subprocess.Popen([*command, "--generator", "face"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            for line in server.stdout:
                if found := re.search(r"http://[\d.]+:\d+", line):
                    yield found.group()
                    return
            raise SystemExit(f"the server ended with exit code {server.wait()}")
        finally:
            server.terminate()


@contextmanager
def browsing(url: str) -> Iterator[Page]:
    """Open the drag view in Chromium."""
    with sync_playwright() as playwright:
        options: dict[str, Any] = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox"]}
        browser = playwright.chromium.launch(**options)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(WAIT_MS)
        page.goto(f"{url}/#/drag")
        yield page
        browser.close()


def judge(page: Page, landmarks: Landmarks, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Drag the corners of a mouth; say what the detector and the files say."""
    choose(page, seed)
    before = saved(page, folder / "before.png")
    marks = face_of(landmarks, before)
    paint(page, marks[list(LIPS)])
    pull(page, marks[list(CORNERS)])
    after = saved(page, folder / "after.png")
    found = face_of(landmarks, after)[list(CORNERS)]
    page.get_by_label("History").fill("0")
    page.locator("output.drag-count").first.get_by_text(re.compile("^0 of")).wait_for()
    undone = saved(page, folder / "undone.png")
    page.locator(".drag-kept li", has=page.locator("a[aria-current]")).get_by_role("button").click()
    wanted = marks[list(CORNERS)] + PULL
    away = [float((each - wanted).norm(dim=1).mean()) for each in (marks[list(CORNERS)], found)]
    same = hashlib.sha256(before.read_bytes()).digest() == hashlib.sha256(undone.read_bytes()).digest()
    above = top_of(np.abs(pixels_of(after) - pixels_of(before)), marks)
    return [
        {"what": "corners of the mouth to their targets, px, before", "measured": round(away[0], 1), "goal": ""},
        {"what": "the same after the drag, by the detector", "measured": round(away[1], 1), "goal": "less"},
        {
            "what": "change above the painted region, of 255",
            "measured": round(above, 2),
            "goal": "<= 4",
        },
        {"what": "everything undone: the same file", "measured": "yes" if same else "no", "goal": "yes"},
    ]


def choose(page: Page, seed: int) -> None:
    """Show a seed's face."""
    page.locator(".drag[data-state=idle]").wait_for()
    before, field = page.url, page.get_by_label("Seed", exact=True)
    field.fill(str(seed))
    field.press("Enter")
    if seed:
        page.wait_for_url(lambda url: url != before)
    page.locator(".drag[data-state=idle]").wait_for()


def paint(page: Page, lips: Tensor) -> None:
    """Paint what may move: the mouth, with room."""
    page.get_by_text("Brush").click()
    page.get_by_label("Size of the brush").fill("240")
    middle = lips[:, 1].mean()
    left, right = lips[:, 0].min() - AROUND_PX, lips[:, 0].max() + AROUND_PX
    stroke(page, torch.stack([torch.stack([left, middle]), torch.stack([right, middle])]))
    page.get_by_text("Points", exact=True).first.click()


def pull(page: Page, corners: Tensor) -> None:
    """Make a point of each corner, and drag to the end."""
    for corner, way in zip(corners, PULL, strict=True):
        stroke(page, torch.stack([corner, corner + way]))
    page.get_by_role("button", name="Start", exact=True).click()
    page.locator(".drag-said", has_text=re.compile("Arrived|Stopped|lost")).wait_for()


def stroke(page: Page, ends: Tensor) -> None:
    """Press at the first place of the picture, (2, 2), go to the second, let go."""
    box = page.get_by_role("application", name="Picture with points").bounding_box()
    assert box is not None
    (x, y), (far_x, far_y) = (ends * box["width"] / RESOLUTION + torch.tensor([box["x"], box["y"]])).tolist()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(far_x, far_y, steps=4)
    page.mouse.up()


def saved(page: Page, path: Path) -> Path:
    """Save the picture by the page's own button."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the picture as PNG", exact=True).click()
    download.value.save_as(path)
    return path


def face_of(landmarks: Landmarks, picture: Path) -> Tensor:
    """Give the landmarks of a picture.

    Raises:
        SystemExit: there is no face.
    """
    found = landmarks.find(picture)
    if found is None:
        raise SystemExit(f"no face is found in {picture}")
    return found


def pixels_of(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Read a picture."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(np.float64)


def top_of(change: np.ndarray[Any, np.dtype[np.float64]], marks: Tensor) -> float:
    """Give the mean change above the nose, which the brush cannot have reached."""
    nose = int(marks[168, 1])
    return float(change[:nose].mean())


if __name__ == "__main__":
    main(sys.argv[1:])
