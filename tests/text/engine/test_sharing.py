"""What several requests begin with is read once: counted by hand, token by token."""

from __future__ import annotations

from dataclasses import astuple

import pytest

import engines
from trimtab.text.engine import Request, Sampling

SHORT = Sampling(4)


def counted(engine):
    return astuple(engine.counters)


@pytest.mark.parametrize("family", engines.FAMILIES)
def test_twelve_branches_read_their_prompt_once(family):
    engine = engines.engine(family)
    answers = engine.branch(engines.prompt(30), 12, Sampling(5, temperature=1.0, seed=7))
    assert counted(engine) == (30, 11 * 30, 12 * 5)
    assert len({answer.tokens for answer in answers}) > 6


@pytest.mark.parametrize("family", engines.FAMILIES)
def test_a_branch_is_the_answer_that_its_seed_gives_alone(family):
    hot = Sampling(5, temperature=1.0, seed=7)
    branches = engines.engine(family, batch=5).branch(engines.prompt(30), 12, hot)
    asked = [Request(engines.prompt(30), Sampling(5, temperature=1.0, seed=7 + n)) for n in range(12)]
    assert [branch.tokens for branch in branches] == [engines.alone(request, family).tokens for request in asked]


@pytest.mark.parametrize("family", engines.FAMILIES)
def test_branches_share_their_prompt_without_any_cache(family):
    engine = engines.engine(family, cache_bytes=0)
    engine.branch(engines.prompt(30), 12, Sampling(5, temperature=1.0))
    assert counted(engine) == (30, 11 * 30, 12 * 5)
    assert engine.kept_bytes == 0


def test_branches_that_are_kept_cost_the_pages_of_their_prompt_once():
    engine = engines.engine("lean")
    engine.branch(engines.prompt(100), 8, Sampling(5, temperature=1.0))
    page_bytes = engine._decoder.pool.page_bytes
    logits = 4 * engine._decoder.vocabulary
    assert engine.kept_bytes <= (3 + 8) * page_bytes + logits  # of four pages the last one is each branch's own


def test_long_beginnings_that_come_together_are_read_once():
    engine, stem = engines.engine(), engines.prompt(40)
    engine.run_all([Request((*stem, *tail), SHORT) for tail in ((1,), (2, 3), (4, 5, 6))])
    assert counted(engine) == (40 + 1 + 2 + 3, 2 * 40, 3 * 4)


@pytest.mark.parametrize("family", engines.FAMILIES)
def test_a_conversation_that_goes_on_reads_only_what_is_new(family):
    engine, first = engines.engine(family), engines.prompt(20)
    (answer,) = engine.run_all([Request(first, SHORT)])
    (again,) = engine.run_all([Request((*first, *answer.tokens, 5, 6), SHORT)])
    # The last token that was written had not been read.
    assert counted(engine) == (20 + 1 + 2, 20 + 3, 8)
    assert again.finished.usage.reused == 23


@pytest.mark.parametrize("family", engines.FAMILIES)
def test_only_a_decoder_that_can_rewind_reuses_half_of_a_prompt(family):
    reused = 12 if family in engines.REWINDABLE else 0
    engine, first = engines.engine(family), engines.prompt(20)
    engine.run_all([Request(first, SHORT)])
    engine.run_all([Request((*first[:12], 1, 2), SHORT)])
    assert counted(engine) == (20 + 14 - reused, reused, 8)


def test_a_beginning_shared_twice_is_left_where_it_ends_for_the_third():
    engine, stem = engines.engine("mamba"), engines.prompt(12)
    for tail in ((1, 2), (3, 4), (5, 6)):
        engine.run_all([Request((*stem, *tail), SHORT)])
    assert counted(engine) == (14 + 14 + 2, 12, 12)


def test_the_same_prompt_again_is_read_but_for_its_last_token():
    engine = engines.engine()
    for _ in range(2):
        engine.run_all([Request(engines.prompt(20), SHORT)])
    assert counted(engine) == (20 + 1, 19, 8)


def test_adapters_share_nothing_with_each_other_or_the_base():
    engine = engines.engine()
    for adapter in (None, *engines.ADAPTERS):
        engine.run_all([Request(engines.prompt(20), SHORT, adapter)])
    assert counted(engine) == (60, 0, 12)


@pytest.mark.parametrize("family", engines.FAMILIES)
def test_a_tree_of_thoughts_reads_each_thought_once(family):
    engine, prompt, deep = engines.engine(family), engines.prompt(20), 3
    thoughts = [prompt]
    for depth in range(deep):
        answers = [(t, engine.branch(t, 2, Sampling(4, temperature=1.0, seed=depth))) for t in thoughts]
        thoughts = [(*thought, *branch.tokens) for thought, branches in answers for branch in branches]
    nodes = 1 + 2 + 4
    # Of each thought only the last token had not been read when its children began.
    assert engine.counters.prefilled == 20 + (nodes - 1)
    assert engine.counters.generated == 2 * nodes * 4
    assert engine.counters.prefilled + engine.counters.reused == 2 * (20 + 2 * 24 + 4 * 28)


@pytest.mark.parametrize("budget", [0, 5_000, 60_000])
@pytest.mark.parametrize("family", engines.FAMILIES)
def test_under_any_budget_the_texts_are_the_same_and_the_budget_is_kept(family, budget):
    engine, expected = engines.engine(family, cache_bytes=budget), engines.engine(family)
    for seed in (1, 2, 1, 3, 2, 1):
        asked = [Request((*engines.prompt(20, seed=seed), n), SHORT) for n in range(3)]
        tokens = [answer.tokens for answer in engine.run_all(asked)]
        assert tokens == [answer.tokens for answer in expected.run_all(asked)]
        assert engine.kept_bytes <= budget
    total = 6 * 3 * 21
    assert engine.counters.prefilled + engine.counters.reused == total
    assert engine.counters.prefilled >= expected.counters.prefilled
