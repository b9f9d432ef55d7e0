"""A real browser on a real server. Whatever a test does, the page must not complain, nor ask anybody else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

import live_drag
import serving
from drag_gestures import ready
from needs import need
from run_folders import write_run
from serving import Running

TOKENS = 12
DELAY_S = 0.008
"""A pass: long enough to see an answer grow."""
WAIT_MS = 8000
USUAL = {"viewport": {"width": 1280, "height": 860}, "reduced_motion": "reduce"}
"""Motion costs a machine without a GPU more than all else."""
BEGIN = """
if (location.protocol.startsWith("http")) {{
  if (!sessionStorage.known) {{ localStorage.clear(); sessionStorage.known = "here"; }}
  localStorage["trimtab.sampling"] ??= {sampling};
}}"""
"""Forget everything in a new tab; a reload remembers. A blank page has no storage."""
Opening = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    need(found is not None, "Chromium", "Debian: apt-get install chromium.")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    write_run(root, "demo")
    write_run(root, "live", running=True, finished=False)
    return root


@pytest.fixture(scope="session")
def server(runs_folder: Path) -> Iterator[Running]:
    drags = live_drag.desks(runs_folder.parent)
    with serving.serving(serving.service(delay_s=DELAY_S), runs_folder=runs_folder, desks=drags) as running:
        yield running


@pytest.fixture(scope="session")
def blank(browser: Browser, server: Running) -> Iterator[Page]:
    """Give a page of the server's origin, for tests of its modules alone."""
    page = browser.new_page()
    page.goto(f"{server.url}/page/early.js")  # shown as plain text, so that no module runs
    yield page
    page.close()


class Problems:
    """What went wrong in pages. A test that brings trouble about says so first: a browser may tell of it late."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._expected: list[str] = []

    def note(self, told: str) -> None:
        self._told.append(told)

    def expect(self, *parts: str) -> None:
        """Let whatever holds one of these words pass."""
        self._expected += parts

    def unexpected(self) -> list[str]:
        return [told for told in self._told if not any(part in told for part in self._expected)]


@pytest.fixture
def problems() -> Problems:
    return Problems()


@pytest.fixture(scope="session")
def contexts(browser: Browser) -> Iterator[dict[str, BrowserContext]]:
    """Keep one context for each set of options: a new one would fetch every file of the page again."""
    kept: dict[str, BrowserContext] = {}
    yield kept
    for context in kept.values():
        context.close()


@pytest.fixture
def opening(
    browser: Browser, server: Running, problems: Problems, contexts: dict[str, BrowserContext]
) -> Iterator[Opening]:
    """Give what opens the page in a browser that remembers nothing, with options of a browser's context."""

    def open_page(
        path: str = "#/chat", *, url: str = server.url, tokens: int = TOKENS, clock: bool = False, **options
    ) -> Page:
        named = json.dumps(options, sort_keys=True)
        if named not in contexts:
            contexts[named] = browser.new_context(**(USUAL | options))
            contexts[named].set_default_timeout(WAIT_MS)
        page = contexts[named].new_page()
        sampling = json.dumps({"max_tokens": tokens, "seed": 1})
        page.add_init_script(BEGIN.format(sampling=json.dumps(sampling)))
        if clock:
            page.clock.install()  # so that the test can put it forward
        page.on("console", lambda said: said.type in ("error", "warning") and problems.note(said.text))
        page.on("pageerror", lambda error: problems.note(str(error)))
        page.on("request", lambda request: _check_address(request.url, url, problems))
        page.goto(f"{url}/{path}")
        return page

    yield open_page
    for context in contexts.values():
        for page in context.pages:
            page.close()
    assert problems.unexpected() == []


@pytest.fixture
def page(opening: Opening) -> Page:
    """Give the drag view with its first picture."""
    return ready(opening("#/drag"))


def _check_address(asked: str, url: str, problems: Problems) -> None:
    if not asked.startswith((f"{url}/", "blob:", "data:")):
        problems.note(f"asked somebody else: {asked}")
