"""What goes wrong with one request ends that request, and no other."""

from __future__ import annotations

import logging
import pydoc

import pytest
import torch

import engines
import tiny
from trimtab.core.errors import NonFiniteError, RangeError, TrimtabError
from trimtab.models.transformers_decoder import TransformersDecoder
from trimtab.text.engine import Engine, Finished, Regex, Request, Sampling

END = engines.tokenizer().eos_token_id
GOOD = engines.request(12, seed=5)
BAD = {
    "adapter 'mine' is not loaded": engines.request(adapter="mine"),
    "no tokens": Request(()),
    "token 100000: allowed is 0 to": Request((1, 100_000)),
    "token -1: allowed is 0 to": Request((1, -1)),
    "a prompt of 129 tokens: allowed are 128": engines.request(129),
    "regular expression cannot be used": Request((1, 2), constraint=Regex("(a")),
}


@pytest.mark.parametrize("message", BAD)
def test_a_request_that_is_not_allowed_fails_alone(message):
    before, answer, after = engines.engine(ends=[END]).run_all([GOOD, BAD[message], GOOD])
    assert isinstance(answer.finished.error, RangeError)
    assert message in str(answer.finished.error)
    assert (answer.finished.reason, answer.text, answer.finished.usage.generated) == ("error", "", 0)
    assert before.tokens == after.tokens == engines.alone(GOOD).tokens


@pytest.mark.parametrize("message", BAD)
def test_a_request_can_be_checked_before_it_is_handed_in(message):
    with pytest.raises(RangeError) as caught:
        engines.engine(ends=[END]).check(BAD[message])
    assert message in str(caught.value)


def poisoned(token: int) -> Engine:
    """Give an engine whose network answers nonsense wherever a token was read."""
    net = tiny.llama()
    with torch.no_grad():
        net.get_input_embeddings().weight[token] = torch.nan
    return Engine(TransformersDecoder(net), engines.tokenizer())


def test_logits_that_are_no_numbers_end_their_request_and_are_named():
    clean = Engine(TransformersDecoder(tiny.llama()), engines.tokenizer())
    (expected,) = clean.run_all([GOOD])
    token = next(n for n in range(200) if n not in (*GOOD.prompt, *expected.tokens))
    engine = poisoned(token)
    bad = Request((3, token, 4), Sampling(4))
    good, answer = engine.run_all([GOOD, bad])
    assert isinstance(answer.finished.error, NonFiniteError)
    assert "logits after token 3" in str(answer.finished.error)
    assert good.tokens == expected.tokens


def test_what_gave_such_logits_is_not_kept():
    engine = poisoned(200)
    engine.run_all([Request((3, 200, 4), Sampling(4))])
    assert engine.kept_bytes == 0


class BreaksOnce(TransformersDecoder):
    reads = 0

    def read(self, reads):
        self.reads += 1
        if self.reads == 3:
            raise RuntimeError("out of memory")
        return super().read(reads)


def test_a_decoder_that_breaks_ends_what_it_was_reading_and_goes_on():
    engine = Engine(BreaksOnce(tiny.llama()), engines.tokenizer())
    for answer in engine.run_all([GOOD, engines.request(seed=2)]):
        assert isinstance(answer.finished.error, TrimtabError)
        assert "RuntimeError: out of memory" in str(answer.finished.error)
        assert len(answer.tokens) == 2
    assert engine.open_requests == 0
    (later,) = engine.run_all([GOOD])
    assert later.tokens == engines.alone(GOOD).tokens


class PanicException(BaseException):
    """What libraries of Rust raise where they give up: no Exception, and known by its name only."""


@pytest.mark.parametrize("fault", [RuntimeError, PanicException])
@pytest.mark.parametrize(
    "place",
    [
        "trimtab.text.engine.worker.Worker.check",
        "trimtab.text.engine.stream.Stream.prepare",
        "trimtab.text.engine.scheduler.Scheduler.begin",
        "trimtab.text.engine.worker.choose",
    ],
)
def test_whatever_fails_at_one_request_ends_that_one(monkeypatch, caplog, place, fault):
    holder, _, name = place.rpartition(".")
    faults = [fault("a bug")]
    found = pydoc.locate(place)

    def failing(*arguments, **options):
        if faults:
            raise faults.pop()
        return found(*arguments, **options)

    monkeypatch.setattr(pydoc.locate(holder), name, failing)
    engine = engines.engine(cache_bytes=0)
    with caplog.at_level(logging.CRITICAL):
        bad, good = engine.run_all([engines.request(seed=2), GOOD])
    assert bad.finished.reason == "error"
    assert "a bug" in str(bad.finished.error)
    assert good.tokens == engines.alone(GOOD).tokens
    assert (engine.open_requests, engine.kept_bytes) == (0, 0)


def test_ctrl_c_is_no_fault_of_a_request(monkeypatch):
    engine, events = engines.engine(), []
    engine.submit(GOOD, events.append)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("trimtab.text.engine.worker.choose", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.step()
    while engine.step():
        pass
    assert tuple(t for piece in events[:-1] for t in piece.tokens) == engines.alone(GOOD).tokens


def test_a_receiver_that_breaks_is_not_written_to_any_longer(caplog):
    engine, received, good = engines.engine(), [], []

    def receive(event):
        received.append(event)
        raise OSError("the client is gone")

    engine.submit(engines.request(max_tokens=100), receive)
    engine.submit(GOOD, good.append)
    with caplog.at_level(logging.CRITICAL):
        while engine.step():
            pass
    assert len(received) == 2
    assert received[-1].reason == "cancelled"
    assert tuple(t for piece in good[:-1] for t in piece.tokens) == engines.alone(GOOD).tokens


@pytest.mark.parametrize("passes", [0, 1, 3])
def test_a_request_is_cancelled_wherever_it_is(passes):
    engine, events, good = engines.engine(chunk=5), [], []
    ticket = engine.submit(engines.request(12, max_tokens=100), events.append)
    engine.submit(GOOD, good.append)
    for _ in range(passes):
        engine.step()
    ticket.cancel()
    engine.step()
    assert isinstance(events[-1], Finished)
    assert ticket.finished.reason == "cancelled"
    while engine.step():
        pass
    assert tuple(t for piece in good[:-1] for t in piece.tokens) == engines.alone(GOOD).tokens
    assert sum(isinstance(event, Finished) for event in events) == 1


def test_cancelling_what_has_ended_changes_nothing():
    engine, events = engines.engine(), []
    ticket = engine.submit(GOOD, events.append)
    while engine.step():
        pass
    ticket.cancel()
    assert not engine.step()
    assert ticket.finished.reason == "length"


def test_who_stops_listening_is_cancelled_at_once():
    engine = engines.engine()
    events = engine.generate(engines.request(max_tokens=100))
    next(events)
    events.close()
    assert engine.open_requests == 0


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_nothing_is_held_when_nothing_is_asked(family):
    engine = engines.engine(family, cache_bytes=0, chunk=3)
    tickets = [engine.submit(engines.request(n + 3, seed=n), lambda event: None) for n in range(5)]
    for _ in range(3):
        engine.step()
    tickets[0].cancel()
    while engine.step():
        pass
    assert engine.kept_bytes == 0
    assert len(engine._scheduler.tree) == 0
