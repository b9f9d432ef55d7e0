"""``trimtab serve --generator``: the command that a person gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dragging import generator_folder
from one_line import one_line
from trimtab.cli.main import run
from trimtab.core.device import HOME_VARIABLE


@contextmanager
def serving(home: Path):
    """Run the real command over a generator in a folder; give its address and process."""
    generator_folder(home / "mine")
    words = ["serve", "--generator", str(home / "mine"), "--port", "0", "--json"]
    environment = os.environ | {HOME_VARIABLE: str(home), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "trimtab.cli.main", *words]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment, cwd=home)
    assert process.stdout is not None
    events = [json.loads(process.stdout.readline())]
    try:
        yield events[-1], process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("home")) as running:
        yield running


def test_it_offers_the_generators_that_were_named(served):
    event, _ = served
    assert (event["event"], event["generators"]) == ("serving", ["mine"])
    assert httpx.get(f"{event['url']}/api/drag").json() == {"generators": ["mine"], "sessions": []}


def test_it_loads_no_language_code(served):
    event, process = served
    reply = httpx.get(f"{event['url']}/api/drag/thumbnail", params={"generator": "mine"})
    assert reply.status_code == 200
    libraries = Path(f"/proc/{process.pid}/maps").read_text()
    assert "torch" in libraries
    assert "tokenizers" not in libraries


def test_it_ends_well_with_a_picture_open(tmp_path):
    with serving(tmp_path) as (event, process):
        assert httpx.post(f"{event['url']}/api/drag/sessions", json={"generator": "mine"}).status_code == 201
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
    assert (process.returncode, json.loads(rest.splitlines()[-1])["event"]) == (0, "result")


def test_a_folder_without_a_generator_is_refused_before_anything_listens(tmp_path, capfd):
    assert run(["serve", "--generator", str(tmp_path), "--port", "0"]) == 2
    assert "holds no generator" in one_line(capfd)


def test_two_generators_of_one_name_are_refused(tmp_path, capfd):
    folders = [str(generator_folder(tmp_path / place / "face")) for place in ("here", "there")]
    assert run(["serve", "--generator", folders[0], "--generator", folders[1], "--port", "0"]) == 2
    assert "have the same name. Rename" in one_line(capfd)


def test_an_unknown_generator_is_refused_with_a_near_name(own_store, capfd):
    assert run(["serve", "--generator", "fase", "--port", "0"]) == 2
    assert "'face'" in one_line(capfd)
