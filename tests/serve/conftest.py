"""One server for all tests of a file that do not stop it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest

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
