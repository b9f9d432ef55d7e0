"""Many clients at once, clients that go, and a server that stops."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

import engines
import serving
from serving import ASKED, BASE, FIRST, SECOND, eventually
from trimtab.text.engine.matcher import Constraints

LONG = ASKED | {"max_tokens": 90}
SLOW_S = 0.02
LOAD_S = 120.0


def stream(client, **changes):
    chunks = client.chat.completions.create(**(ASKED | changes), stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def asked_by(number):
    """What client ``number`` asks; no two ask the same."""
    content = f"{'on the trim tab ' * (number % 3)}{number}"
    model = (BASE, FIRST, SECOND)[number % 3]
    return {"messages": [{"role": "user", "content": content}], "model": model, "seed": number, "max_tokens": 20}


def is_idle(server):
    return server.service.taken == 0 and server.service.engine.open_requests == 0


def test_sixteen_clients_each_get_the_text_that_they_get_alone(client):
    alone = [stream(client, **asked_by(number)) for number in range(16)]
    with ThreadPoolExecutor(16) as clients:
        together = list(clients.map(lambda number: stream(client, **asked_by(number)), range(16)))
    assert together == alone
    assert len(set(alone)) == 16


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_goes_frees_its_place_and_ends_the_work(streamed):
    with serving.serving(serving.service(delay_s=SLOW_S)) as server, server.http() as http:
        if streamed:
            with http.stream("POST", "/v1/chat/completions", json=LONG | {"stream": True}) as reply:
                next(reply.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                http.post("/v1/chat/completions", json=LONG, timeout=0.3)
        assert eventually(lambda: is_idle(server))
        assert server.service.engine.counters.generated < 60
        assert server.service.metrics.clients_gone == 1
        assert server.service.metrics.answers == {"cancelled": 1}


def test_a_stream_that_was_read_to_its_end_is_no_client_gone(server, client):
    stream(client)
    assert server.service.metrics.clients_gone == 0


def test_who_comes_when_the_queue_is_full_is_told_when_to_try_again():
    with serving.serving(serving.service(queue=2, delay_s=SLOW_S)) as server, server.openai() as client:
        with ThreadPoolExecutor(2) as clients:
            running = [clients.submit(stream, client, max_tokens=20, seed=seed) for seed in (1, 2)]
            assert eventually(lambda: server.service.taken == 2)
            with pytest.raises(openai.RateLimitError, match="allowed are 2") as caught:
                stream(client)
            texts = [each.result() for each in running]
        assert caught.value.response.headers["retry-after"] == "2"
        assert texts == [stream(client, max_tokens=20, seed=seed) for seed in (1, 2)]


def test_more_answers_than_the_queue_will_ever_hold_are_refused_for_good():
    with serving.serving(serving.service(queue=2)) as server, server.openai() as client:
        with pytest.raises(openai.BadRequestError, match="start with --queue"):
            client.chat.completions.create(**ASKED, n=3)
        assert server.service.taken == 0


def test_a_refused_request_gives_its_place_back(server, client):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**(ASKED | {"messages": [{"role": "user", "content": "trim " * 200}]}))
    assert server.service.taken == 0


def test_a_draining_server_ends_what_runs_and_takes_nothing_new():
    with serving.serving(serving.service(delay_s=SLOW_S)) as server, server.http() as http:
        with ThreadPoolExecutor(1) as clients, server.openai() as client:
            running = clients.submit(stream, client, max_tokens=30)
            assert eventually(lambda: server.service.taken == 1)
            server.server.stop()
            assert eventually(lambda: server.service.draining)
            assert http.post("/v1/chat/completions", json=ASKED).status_code == 503
            assert http.get("/health").json() == {"status": "stopping"}
            text = running.result()
        server.thread.join(10)
        assert not server.thread.is_alive()
    with serving.serving() as other, other.openai() as client:
        assert text == stream(client, max_tokens=30)


def test_what_does_not_end_in_time_is_ended_with_an_error():
    with serving.serving(serving.service(delay_s=0.1), drain_s=0.2) as server, server.openai() as client:
        chunks = iter(client.chat.completions.create(**LONG, stream=True))
        next(chunks)
        began = time.monotonic()
        server.server.stop()
        with pytest.raises(openai.APIError, match="stopping"):
            list(chunks)
        server.thread.join(10)
        assert time.monotonic() - began < 5


def test_stopping_without_a_drain_ends_running_answers_at_once():
    import signal

    with serving.serving(serving.service(delay_s=0.1)) as server, server.openai() as client:
        chunks = iter(client.chat.completions.create(**LONG, stream=True))
        next(chunks)
        server.server.stop(signal.SIGINT)
        with pytest.raises(openai.APIError, match="stopping"):
            list(chunks)


def test_a_fault_of_the_engine_ends_its_answers_and_nothing_else(monkeypatch):
    service = serving.service()
    step, faults = service.engine.step, [RuntimeError("broken")]

    def failing():
        if faults and service.engine.open_requests:
            raise faults.pop()
        return step()

    monkeypatch.setattr(service.engine, "step", failing)
    with serving.serving(service) as server, server.openai() as client:
        with pytest.raises(openai.InternalServerError, match="the engine failed"):
            stream(client)
        assert stream(client)
        assert eventually(lambda: is_idle(server))


class PanicException(BaseException):
    """What libraries of Rust raise where they give up."""


def test_a_panic_of_the_engine_ends_its_answers_and_nothing_else(monkeypatch):
    service = serving.service()
    step, faults = service.engine.step, [PanicException("broken")]

    def failing():
        if faults and service.engine.open_requests:
            raise faults.pop()
        return step()

    monkeypatch.setattr(service.engine, "step", failing)
    with serving.serving(service) as server, server.openai() as client, server.http() as http:
        with pytest.raises(openai.InternalServerError, match="the engine failed"):
            stream(client)
        assert stream(client)
        assert http.get("/health").json() == {"status": "ok"}


def test_a_server_whose_engine_is_gone_says_so(monkeypatch):
    service = serving.service()
    monkeypatch.setattr(service._worker, "run", lambda: None)
    with serving.serving(service) as server, server.http() as http:
        reply = http.get("/health")
    assert (reply.status_code, reply.json()) == (503, {"status": "failed"})


def test_a_stream_goes_on_while_a_schema_is_compiled(monkeypatch):
    compiling, done = threading.Event(), threading.Event()
    compile_one = Constraints._compile

    def slow(self, constraint):
        compiling.set()
        assert done.wait(20)
        return compile_one(self, constraint)

    monkeypatch.setattr(Constraints, "_compile", slow)
    ends = (engines.tokenizer().eos_token_id,)
    served = serving.serving(serving.service(ends=ends))
    with served as server, server.openai() as client, ThreadPoolExecutor(1) as clients:
        chunks = iter(client.chat.completions.create(**LONG, stream=True))
        next(chunks)
        other = clients.submit(client.chat.completions.create, **ASKED, response_format={"type": "json_object"})
        assert compiling.wait(10)
        assert list(chunks)[-1].choices[0].finish_reason in ("stop", "length")
        done.set()
        assert other.result().choices[0].message.content.startswith("{")


def test_no_thread_stays_behind():
    before = threading.active_count()
    with serving.serving() as server, server.openai() as client:
        stream(client)
    assert eventually(lambda: threading.active_count() <= before)


@pytest.mark.slow
def test_thirty_two_clients_get_their_own_text_again_and_again():
    with serving.serving(serving.service(queue=64)) as server, server.openai() as client:
        alone = [stream(client, **asked_by(number)) for number in range(32)]
        end = time.monotonic() + LOAD_S

        def ask_on(number):
            rounds = 0
            while time.monotonic() < end:
                assert stream(client, **asked_by(number)) == alone[number]
                rounds += 1
            return rounds

        with ThreadPoolExecutor(32) as clients:
            rounds = list(clients.map(ask_on, range(32)))
        assert min(rounds) > 1
        assert eventually(lambda: is_idle(server))
