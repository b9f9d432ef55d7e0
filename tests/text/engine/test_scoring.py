"""Choices are scored as the network itself scores them, behind a prompt that is read once."""

from __future__ import annotations

from dataclasses import astuple

import pytest
import torch

import engines
import tiny
from trimtab.core.errors import NonFiniteError, RangeError
from trimtab.models.transformers_decoder import TransformersDecoder
from trimtab.text.engine import Engine

CHOICES = [(1,), (2, 3), (2, 4, 5), (6,)]


@pytest.mark.parametrize("family", engines.FAMILIES)
@pytest.mark.parametrize("sizes", [{}, {"batch": 1, "chunk": 3, "cache_bytes": 0}], ids=["whole", "parts"])
def test_scores_are_sums_of_the_networks_log_probabilities(family, sizes):
    prompt, net = engines.prompt(10), engines.network(family)
    scores = engines.engine(family, **sizes).score(prompt, CHOICES)
    for score, choice in zip(scores, CHOICES, strict=True):
        logs = tiny.logits(net, torch.tensor([[*prompt, *choice]]))[0].log_softmax(dim=1)
        expected = sum(float(logs[9 + n, token]) for n, token in enumerate(choice))
        assert score == pytest.approx(expected, abs=1e-4)


def test_the_prompt_is_read_once_and_last_tokens_not_at_all():
    engine = engines.engine()
    engine.score(engines.prompt(10), CHOICES)
    assert astuple(engine.counters) == (10 + 0 + 1 + 2 + 0, 3 * 10, 0)


LONG = [engines.prompt(30, seed=3), engines.prompt(3, seed=4), engines.prompt(9, seed=5)]


@pytest.mark.parametrize("family", engines.FAMILIES)
@pytest.mark.parametrize("sizes", [{"chunk": 4}, {"chunk": 7, "batch": 2}, {"chunk": 1}], ids=str)
def test_long_choices_are_read_in_parts_to_the_same_scores(family, sizes):
    whole = engines.engine(family).score(engines.prompt(10), LONG)
    assert engines.engine(family, **sizes).score(engines.prompt(10), LONG) == pytest.approx(whole, abs=1e-4)


def test_no_pass_of_scoring_reads_more_than_a_chunk(monkeypatch):
    engine, sizes = engines.engine(chunk=8), []
    read = engine._decoder.read
    monkeypatch.setattr(
        engine._decoder, "read", lambda reads: sizes.append([len(r.tokens) for r in reads]) or read(reads)
    )
    engine.score(engines.prompt(20), LONG)
    assert max(map(sum, sizes)) == 8
    assert sum(map(sum, sizes)) == 20 + 29 + 2 + 8


def test_answers_go_on_while_choices_are_scored():
    engine, events = engines.engine(chunk=4), []
    asked = engines.request(5, max_tokens=100)
    engine.submit(asked, events.append)
    engine.step()
    engine.step()
    before = len(events)
    engine.score(engines.prompt(10), LONG)
    assert len(events) > before + 5
    while engine.step():
        pass
    assert tuple(t for piece in events[:-1] for t in piece.tokens) == engines.alone(asked).tokens


def test_scoring_that_fails_half_way_holds_nothing(monkeypatch):
    engine = engines.engine(chunk=4, cache_bytes=0)
    read, left = engine._decoder.read, [5]

    def breaking(reads):
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("broken")
        return read(reads)

    monkeypatch.setattr(engine._decoder, "read", breaking)
    with pytest.raises(RuntimeError, match="broken"):
        engine.score(engines.prompt(10), LONG)
    assert engine.kept_bytes == 0


def test_choices_of_one_token_behind_a_known_prompt_need_no_pass():
    engine = engines.engine()
    engine.score(engines.prompt(10), [(1,)])
    assert engine.score(engines.prompt(10), [(1,), (2,)])[0] == engine.score(engines.prompt(10), [(1,)])[0]
    assert engine.counters.prefilled == 10


def test_an_adapter_scores_otherwise():
    engine = engines.engine()
    assert engine.score(engines.prompt(10), CHOICES) != engine.score(engines.prompt(10), CHOICES, adapter="first")


@pytest.mark.parametrize("wrong", [[()], [(1,), (10**6,)], [(1,) * 120]])
def test_choices_that_cannot_be_read_are_refused(wrong):
    with pytest.raises(RangeError, match=r"no tokens|token 1000000|allowed are 128"):
        engines.engine().score(engines.prompt(10), wrong)


def test_no_choices_have_no_scores():
    assert engines.engine().score(engines.prompt(10), []) == []


def test_scores_that_are_no_numbers_are_an_error():
    net = tiny.llama()
    with torch.no_grad():
        net.get_input_embeddings().weight[7] = torch.nan
    engine = Engine(TransformersDecoder(net), engines.tokenizer())
    with pytest.raises(NonFiniteError):
        engine.score((1, 2), [(3,), (7, 3)])
    engine._scheduler.tree.clear()
    assert engine.kept_bytes == 0
