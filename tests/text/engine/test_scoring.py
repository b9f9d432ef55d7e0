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
