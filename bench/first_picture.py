"""How long a person waits for the first picture to drag: from the command to a face on the screen, wall time.

Two ways, each a fresh process in every round, taking turns: `trimtab demo drag`, until Chromium, which is open by then,
shows the face of 1024 px on the page; and `trimtab drag face`, until before.png lies in its folder. After a first
round, which is not counted, the files are in the disk cache.

    python bench/first_picture.py [--rounds 5] [--trimtab PATH] [--json rows.json]

--trimtab names the command of another environment: one without the extras has less to import. Needs `trimtab models add
face`, playwright (a test extra) and Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from playwright.sync_api import Page, sync_playwright

from _table import print_table
from _waits import Wait, median_waits

COLUMNS = ("way", "seconds", "of them before the first line", "goal")
GOAL = "<= 6"
WAIT_S = 60
PULL = ["--handle", "512,600", "--target", "470,600", "--steps", "1", "--animation", "none"]


def main(argv: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trimtab", default=shutil.which("trimtab", path=str(Path(sys.executable).parent)))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as temporary, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        ways = {
            "trimtab demo drag, in the page": lambda: on_the_page(given.trimtab, browser.new_page()),
            "trimtab drag face, before.png": lambda: in_a_folder(given.trimtab, Path(mkdtemp(dir=temporary))),
        }
        rows = measure(ways, given.rounds)
        browser.close()
    print_table(rows, COLUMNS)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


def measure(ways: dict[str, Wait], rounds: int) -> list[dict[str, Any]]:
    """Give a row for each way."""
    return [
        {"way": way, "seconds": round(picture, 2), "of them before the first line": round(line, 2), "goal": GOAL}
        for way, (line, picture) in median_waits(ways, rounds).items()
    ]


def on_the_page(trimtab: str, page: Page) -> tuple[float, float]:
    """Start the demonstration; give the seconds to its address, and to the face in the page.

    Raises:
        SystemExit: it ended without an address.
    """
    # A browser that does nothing is opened by the command: ours is there already.
    environment = {**os.environ, "BROWSER": "true"}
    began = time.perf_counter()
    command = [trimtab, "demo", "drag"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", server.stdout.readline())
        line = time.perf_counter() - began
        if found is None:
            raise SystemExit(f"{' '.join(command)} ended with exit code {server.wait()}")
        page.goto(f"{found.group()}/#/drag")
        page.locator(".drag[data-state=idle]").wait_for(timeout=1000 * WAIT_S)
        page.evaluate("() => new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)))")
        picture = time.perf_counter() - began
        page.close()
        server.terminate()
    return line, picture


def in_a_folder(trimtab: str, folder: Path) -> tuple[float, float]:
    """Start a drag; give the seconds to its first line, and to the picture before it.

    Raises:
        SystemExit: it ended without a picture.
    """
    began = time.perf_counter()
    command = [trimtab, "drag", "face", "--seed", "7", *PULL, "--out", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        line = time.perf_counter() - began
        while not (folder / "before.png").exists():
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command[:3])} ended with exit code {process.returncode}")
            time.sleep(0.01)
        picture = time.perf_counter() - began
        process.kill()
    return line, picture


if __name__ == "__main__":
    main(sys.argv[1:])
