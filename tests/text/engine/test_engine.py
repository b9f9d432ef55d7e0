"""Requests in, events out: the same text alone or among others, whatever the order and the sizes."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import engines
from trimtab.core.errors import RangeError
from trimtab.text.engine import Engine, Finished, Piece, Request, Sampling, Usage

SAMPLINGS = [
    Sampling(6),
    Sampling(9, temperature=1.0, seed=3),
    Sampling(5, temperature=1.3, top_k=20, seed=4, repetition_penalty=1.4),
    Sampling(7, temperature=0.8, top_p=0.7, min_p=0.01, seed=5, stop=("e", "tab")),
]


@pytest.mark.parametrize("family", engines.FAMILIES)
@pytest.mark.parametrize("penalty", [1.0, 1.5])
def test_greedy_tokens_are_those_of_transformers_generate(family, penalty):
    asked = engines.request(12, max_tokens=20, repetition_penalty=penalty)
    net = engines.network(family)
    written = net.generate(
        torch.tensor([asked.prompt]),
        attention_mask=torch.ones(1, 12, dtype=torch.long),
        max_new_tokens=20,
        do_sample=False,
        repetition_penalty=penalty,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert engines.alone(asked, family).tokens == tuple(written[0, 12:].tolist())


@st.composite
def crowds(draw, adapters):
    """What requests are made of that share beginnings, each with the pass before which it comes."""
    stem = engines.prompt(24, seed=draw(st.integers(0, 3)))
    crowd = []
    for _ in range(draw(st.integers(1, 6))):
        tail = engines.prompt(draw(st.integers(1, 6)), seed=draw(st.integers(10, 12)))
        prompt = (*stem[: draw(st.sampled_from([0, 3, 20, 24]))], *tail)
        sampling = draw(st.sampled_from(SAMPLINGS))
        crowd.append((draw(st.integers(0, 12)), (prompt, sampling, draw(st.sampled_from(adapters)))))
    return crowd


def run_as_they_come(engine, crowd):
    """Hand in each request before its pass; give the texts and ends."""
    events = [[] for _ in crowd]
    busy, passed = True, 0
    while busy or passed <= max(when for when, _ in crowd):
        for (when, request), mine in zip(crowd, events, strict=True):
            if when == passed:
                engine.submit(request, mine.append)
        busy, passed = engine.step(), passed + 1
    return [(tuple(t for piece in mine[:-1] for t in piece.tokens), mine[-1].reason) for mine in events]


@pytest.mark.parametrize("family", engines.FAMILIES)
@given(data=st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whoever_comes_when_each_text_is_what_it_is_alone(family, data):
    drawn = data.draw(crowds((None, *engines.decoder(family).adapters)))
    crowd = [(when, Request(*parts)) for when, parts in drawn]
    options = {
        "batch": data.draw(st.sampled_from([1, 2, 16])),
        "chunk": data.draw(st.sampled_from([1, 5, 256])),
        "cache_bytes": data.draw(st.sampled_from([0, 20_000, 1 << 30])),
    }
    found = run_as_they_come(engines.engine(family, **options), crowd)
    expected = [engines.alone(request, family) for _, request in crowd]
    assert found == [(answer.tokens, answer.finished.reason) for answer in expected]


def test_answers_go_on_while_a_long_prompt_is_read():
    engine = engines.engine(chunk=4)
    running, reading = [], []
    engine.submit(engines.request(3, max_tokens=30), running.append)
    engine.step()
    engine.submit(engines.request(40, seed=2), reading.append)
    for _ in range(10):
        before = sum(len(piece.tokens) for piece in running)
        engine.step()
        engine.step()
        assert sum(len(piece.tokens) for piece in running) > before or isinstance(running[-1], Finished)
    assert engine.counters.prefilled == 43
    assert engine.counters.generated > 10


def test_no_pass_reads_more_of_prompts_than_a_chunk():
    engine = engines.engine(chunk=10)
    for seed in range(3):
        engine.submit(engines.request(8, seed=seed), lambda event: None)
    read = []
    while engine.step():
        read.append(engine.counters.prefilled)
    assert read[:3] == [10, 20, 24]


def test_pieces_hold_every_token_and_all_the_text():
    answer = engines.alone(engines.request(max_tokens=30, temperature=1.0))
    decoded = engines.tokenizer().decode(answer.tokens, skip_special_tokens=True)
    assert answer.text == decoded
    assert answer.finished == Finished("length", Usage(9, 0, 30))


def test_the_highest_seed_is_followed_by_the_lowest():
    highest, lowest = (Sampling(8, temperature=1.0, seed=seed) for seed in (2**63 - 1, -(2**63)))
    first, second = engines.engine().branch(engines.prompt(9), 2, highest)
    assert first.tokens == engines.alone(Request(engines.prompt(9), highest)).tokens
    assert second.tokens == engines.alone(Request(engines.prompt(9), lowest)).tokens


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
def test_a_penalty_keeps_an_answer_from_repeating_itself(penalty):
    free = engines.alone(engines.request(max_tokens=60))
    fined = engines.alone(engines.request(max_tokens=60, **{penalty: 2.0}))
    assert len(set(fined.tokens)) > len(set(free.tokens))


def test_penalties_count_what_the_answer_wrote_and_not_its_prompt():
    asked = engines.request(max_tokens=1)
    first = engines.alone(asked).tokens
    fined = engines.request(max_tokens=1, presence_penalty=2.0, frequency_penalty=2.0)
    assert engines.alone(replace(fined, prompt=(*asked.prompt,))).tokens == first


def test_the_end_token_of_the_tokenizer_ends_answers_where_none_is_named():
    tokenizer, asked = engines.tokenizer(), engines.request(max_tokens=100, temperature=1.0)
    answers = Engine(engines.decoder(), tokenizer).branch(asked.prompt, 12, asked.sampling)
    ended = [answer for answer in answers if answer.finished.reason == "stop"]
    assert ended
    assert all(answer.tokens.index(tokenizer.eos_token_id) == len(answer.tokens) - 1 for answer in ended)


def test_an_end_token_ends_the_answer_and_is_no_text():
    free = engines.alone(engines.request(max_tokens=12))
    end = free.tokens[4]
    (answer,) = engines.engine(ends=[end]).run_all([engines.request(max_tokens=12)])
    assert answer.tokens == free.tokens[: free.tokens.index(end) + 1]
    assert answer.text == engines.tokenizer().decode(answer.tokens[:-1])
    assert answer.finished.reason == "stop"


@pytest.mark.parametrize("seed", range(6))
def test_a_stop_text_across_tokens_ends_the_answer_before_it(seed):
    free = engines.alone(engines.request(seed=seed, max_tokens=24, temperature=1.0)).text
    stop = free[7:12]
    answer = engines.alone(engines.request(seed=seed, max_tokens=24, temperature=1.0, stop=("absent", stop)))
    assert (answer.text, answer.finished.reason) == (free[: free.index(stop)], "stop")
    assert answer.finished.usage.generated < 24


def test_logprobs_come_with_every_token():
    answer = engines.alone(engines.request(logprobs=2))
    assert [report.token for report in answer.logprobs] == list(answer.tokens)
    assert all(report.alternatives[0] == (report.token, report.logprob) for report in answer.logprobs)


@pytest.mark.parametrize("family", engines.FAMILIES)
def test_an_answer_that_is_resumed_goes_on_as_it_would_have(family):
    asked = engines.request(max_tokens=12, temperature=1.0)
    whole = engines.alone(asked, family).tokens
    resumed = Request((*asked.prompt, *whole[:5]), replace(asked.sampling, max_tokens=7))
    assert engines.alone(resumed, family).tokens == whole[5:]


@pytest.mark.parametrize(("length", "written"), [(128, 1), (120, 9)])
def test_an_answer_ends_where_the_window_is_full(length, written):
    answer = engines.alone(engines.request(length, max_tokens=50))
    assert (answer.finished.reason, len(answer.tokens)) == ("length", written)


def test_events_can_be_taken_one_by_one():
    events = list(engines.engine().generate(engines.request(max_tokens=4)))
    assert [type(event) for event in events[:-1]] == [Piece] * (len(events) - 1)
    assert isinstance(events[-1], Finished)


def test_requests_from_many_threads_are_answered():
    engine, asked = engines.engine(), [engines.request(seed=seed) for seed in range(8)]
    answers = [[] for _ in asked]
    threads = [
        threading.Thread(target=lambda mine=mine, r=r: mine.extend(engine.generate(r)))
        for r, mine in zip(asked, answers, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for request, mine in zip(asked, answers, strict=True):
        assert tuple(t for piece in mine[:-1] for t in piece.tokens) == engines.alone(request).tokens


@pytest.mark.parametrize("name", ["batch", "chunk", "cache_bytes"])
def test_an_engine_of_no_size_is_refused(name):
    with pytest.raises(RangeError, match=f"{name} = -1: allowed is"):
        Engine(engines.decoder(), engines.tokenizer(), **{name: -1})
