"""A real server on a free port of this machine, around a tiny network; shared by the tests of the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai

import engines
from trimtab.models.llama.family import missing_code
from trimtab.serve.app import create_app
from trimtab.serve.model_names import ModelNames
from trimtab.serve.running import Server, listen
from trimtab.serve.service import Service
from trimtab.serve.speech import Speech
from trimtab.text.engine import Engine

FAMILY = "llama" if missing_code() else "lean"
BASE = "tiny"
FIRST, SECOND = f"{BASE}:first", f"{BASE}:second"
ASKED = {"model": BASE, "messages": [{"role": "user", "content": "the trim tab"}], "max_tokens": 8, "seed": 1}


class Running:
    """A server that runs in a thread.

    Attributes:
        url: where.
        service: what answers.
    """

    def __init__(self, server: Server, service: Service | None, port: int, thread: threading.Thread) -> None:
        self.server, self.service, self.thread = server, service, thread
        self.port, self.url = port, f"http://127.0.0.1:{port}"

    def openai(self, **options: Any) -> openai.OpenAI:
        """Give the real client, which tries once only."""
        return openai.OpenAI(**({"base_url": f"{self.url}/v1", "api_key": "none", "max_retries": 0} | options))

    def http(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20, **options)


class Slowed:
    """A decoder that takes its time, so that a test can do something meanwhile."""

    def __init__(self, decoder: Any, delay_s: float) -> None:
        self._decoder, self._delay_s = decoder, delay_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def read(self, reads: Any) -> Any:
        time.sleep(self._delay_s)
        return self._decoder.read(reads)


def service(*, queue: int = 32, delay_s: float = 0.0, **options: Any) -> Service:
    """Give a service on the tiny network with two adapters, each pass slowed; options as of ``Engine``."""
    decoder = Slowed(engines.decoder(FAMILY), delay_s) if delay_s else engines.decoder(FAMILY)
    engine = Engine(decoder, engines.tokenizer(), **({"ends": ()} | options))
    return Service(engine, Speech.of(engines.tokenizer(), decoder), ModelNames(BASE, engines.ADAPTERS), queue=queue)


@contextmanager
def serving(
    given: Service | None = None, *, without_model: bool = False, drain_s: float = 5.0, port: int = 0, **options: Any
) -> Iterator[Running]:
    """Serve while the block runs; options as of ``create_app``."""
    given = None if without_model else given or service()
    server = Server(create_app(given, **options), drain_s=drain_s)
    taken = listen("127.0.0.1", port)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    running = Running(server, given, taken.getsockname()[1], thread)
    try:
        _wait_for(running)
        yield running
    finally:
        if thread.is_alive():
            server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def eventually(condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    """Tell whether something becomes true in time."""
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def _wait_for(running: Running) -> None:
    with running.http() as client:
        client.get("/health")
