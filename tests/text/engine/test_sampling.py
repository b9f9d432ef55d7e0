"""Choosing tokens: against transformers' own filters, and draws that depend on nothing but seed and position."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from trimtab.text.engine import Sampling
from trimtab.text.engine.sampling import DRAW_BITS, Row, choose, log_probability, uniform, usable

SIZE = 40
FILTERS = [
    Sampling(temperature=1.0),
    Sampling(temperature=0.5),
    Sampling(temperature=2.0, top_k=7),
    Sampling(temperature=1.0, top_k=1),
    Sampling(temperature=1.0, top_k=1000),
    Sampling(temperature=1.0, top_p=0.6),
    Sampling(temperature=1.5, top_p=1e-6),
    Sampling(temperature=1.0, min_p=0.2),
    Sampling(temperature=1.0, min_p=1.0),
    Sampling(temperature=1.3, top_k=9, top_p=0.8, min_p=0.1),
    Sampling(temperature=0.8, top_k=20, top_p=0.9, min_p=0.05, repetition_penalty=1.7),
    Sampling(temperature=1.0, repetition_penalty=0.6),
]


def random_logits(rows: int = 1, *, seed: int = 0, size: int = SIZE) -> torch.Tensor:
    return 3 * torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def seen_tokens(size: int = SIZE) -> torch.Tensor:
    return torch.arange(size) % 3 == 0


def theirs(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Chances as transformers' processors leave them, in the order its generate applies them."""
    from transformers.generation import logits_process as processors

    ids = seen_tokens().nonzero()[:, 0][None]
    steps = [processors.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)]
    steps += [processors.TemperatureLogitsWarper(sampling.temperature)]
    steps += [processors.TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    steps += [processors.TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
    steps += [processors.MinPLogitsWarper(sampling.min_p)] if sampling.min_p else []
    for step in steps:
        logits = step(ids, logits.clone())
    return logits.softmax(dim=1)[0]


@pytest.mark.parametrize("sampling", FILTERS, ids=str)
def test_many_draws_are_spread_as_transformers_filters_leave_the_chances(sampling):
    logits, count = random_logits(), 4000
    rows = [Row(sampling, position, seen_tokens()) for position in range(count)]
    drawn = Counter(choose(logits[0], row) for row in rows)
    chances = theirs(logits, sampling)
    assert all(chances[token] > 0 for token in drawn)
    observed = torch.tensor([drawn[token] / count for token in range(SIZE)])
    assert float((observed - chances).abs().max()) < 5 * 0.5 / count**0.5


@pytest.mark.parametrize("penalty", [1.0, 1.8])
def test_without_temperature_the_likeliest_is_taken(penalty):
    (logits,) = random_logits()
    scaled = torch.where(logits > 0, logits / penalty, logits * penalty)
    row = Row(Sampling(repetition_penalty=penalty), 5, seen_tokens())
    assert choose(logits, row) == int(torch.where(seen_tokens(), scaled, logits).argmax())


@pytest.mark.parametrize(("presence", "frequency"), [(0.5, 0.0), (0.0, 0.25), (-1.0, 2.0)])
def test_what_was_written_loses_as_much_as_openai_says(presence, frequency):
    (logits,) = random_logits()
    written = (torch.arange(SIZE) % 4).float()
    row = Row(Sampling(temperature=1.0, presence_penalty=presence, frequency_penalty=frequency), 5, written=written)
    chances = (logits - presence * (written > 0) - frequency * written).softmax(0)
    count = 4000
    drawn = Counter(choose(logits, replace(row, position=position)) for position in range(count))
    observed = torch.tensor([drawn[token] / count for token in range(SIZE)])
    assert float((observed - chances).abs().max()) < 5 * 0.5 / count**0.5


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-40, 100.0])
@pytest.mark.parametrize("penalty", [5e-324, 1e-30, 100.0])
@pytest.mark.parametrize("seen", [seen_tokens(), ~seen_tokens(), torch.ones(SIZE, dtype=torch.bool)])
def test_the_smallest_and_largest_numbers_that_are_allowed_choose_a_token(temperature, penalty, seen):
    (logits,) = random_logits()
    token = choose(logits, Row(Sampling(temperature=temperature, repetition_penalty=penalty), 5, seen))
    assert 0 <= token < SIZE


def test_the_smallest_temperature_takes_the_likeliest():
    (logits,) = random_logits()
    assert choose(logits, Row(Sampling(temperature=5e-324), 5)) == int(logits.argmax())


def test_another_seed_or_position_is_another_draw():
    logits, hot = torch.zeros(1000), {"temperature": 1.0}
    tokens = {choose(logits, Row(Sampling(seed=s, **hot), p)) for s in range(10) for p in range(10)}
    assert len(tokens) > 80


def test_uniform_numbers_are_uniform_and_fixed():
    numbers = torch.tensor([uniform(7, n) for n in range(4000)])
    assert abs(float(numbers.mean()) - 0.5) < 0.03
    assert abs(float(numbers.var()) - 1 / 12) < 0.01
    assert uniform(7, 3) == uniform(7, 3) != uniform(3, 7)


@pytest.mark.parametrize("temperature", [0.0, 1e-30, 1.0, 100.0])
def test_only_allowed_tokens_are_chosen(temperature):
    allowed = torch.zeros(SIZE, dtype=torch.bool)
    allowed[[3, 17]] = True
    logits = random_logits(200, seed=2)
    rows = [Row(Sampling(temperature=temperature, top_p=0.99), n, None, allowed) for n in range(200)]
    assert {choose(one, row) for one, row in zip(logits, rows, strict=True)} == {3, 17}


@pytest.mark.parametrize("number", [0.0, 1 - 2.0**-DRAW_BITS])
def test_the_ends_of_the_unit_interval_choose_nothing_that_is_impossible(number, monkeypatch):
    monkeypatch.setattr("trimtab.text.engine.sampling.uniform", lambda seed, position: number)
    allowed = torch.arange(SIZE).remainder(SIZE - 1) > 2
    assert allowed[choose(random_logits()[0], Row(Sampling(temperature=1.0), 0, None, allowed))]


def test_the_logits_that_were_given_are_left_as_they_are():
    (logits,) = random_logits()
    before = logits.clone()
    choose(logits, Row(Sampling(temperature=1.0, repetition_penalty=2.0), 1, seen_tokens(), ~seen_tokens()))
    assert torch.equal(logits, before)


def test_a_log_probability_is_that_of_the_plain_distribution():
    (logits,) = random_logits()
    report = log_probability(logits, 5, 3)
    logs = logits.log_softmax(0)
    assert report.logprob == pytest.approx(float(logs[5]))
    assert [token for token, _ in report.alternatives] == logs.argsort(descending=True)[:3].tolist()
    assert [log for _, log in report.alternatives] == pytest.approx(logs.sort(descending=True).values[:3].tolist())


@pytest.mark.parametrize(("value", "good"), [(torch.nan, False), (torch.inf, False), (-torch.inf, True), (0.0, True)])
def test_rows_with_numbers_that_are_none_are_told(value, good):
    logits = random_logits(3)
    logits[1, 4] = value
    assert usable(logits) == [True, good, True]
