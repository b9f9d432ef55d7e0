"""One server for all tests of a file that do not stop it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

import live_drag
import serving
from serving import Running


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving.serving() as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with server.openai() as client:
        yield client


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    with server.http() as client:
        yield client


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of ``running``."""
    return tmp_path_factory.mktemp("drags")


@pytest.fixture(scope="module")
def running(root: Path) -> Iterator[Running]:
    """Serve drags of the tiny generator."""
    with live_drag.dragging(root) as running:
        yield running


@pytest.fixture
def key(running: Running) -> str:
    """Begin a drag."""
    return live_drag.begin(running)
