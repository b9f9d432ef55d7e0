"""Learning-rate schedules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.core.errors import RangeError
from trimtab.optim.schedules import KINDS, factor


@pytest.mark.parametrize("kind", KINDS)
def test_warm_up_rises_in_equal_parts_to_one(kind: str) -> None:
    rates = [factor(step, kind=kind, warmup_steps=4, total_steps=100) for step in range(5)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_constant_stays_at_one() -> None:
    assert {factor(step, total_steps=10) for step in range(20)} == {1.0}


def test_linear_is_half_way_down_in_the_middle() -> None:
    assert factor(60, kind="linear", warmup_steps=20, total_steps=100) == pytest.approx(0.5)


def test_cosine_is_half_way_down_in_the_middle_and_flat_at_the_start() -> None:
    assert factor(50, kind="cosine", total_steps=100) == pytest.approx(0.5)
    assert factor(1, kind="cosine", total_steps=100) > factor(1, kind="linear", total_steps=100)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_the_end_is_zero_and_stays_there(kind: str) -> None:
    assert [factor(step, kind=kind, total_steps=10) for step in (10, 11, 99)] == [0.0, 0.0, 0.0]


@given(st.sampled_from(KINDS), st.integers(0, 50), st.integers(1, 60), st.integers(0, 200))
def test_every_factor_lies_between_zero_and_one(kind: str, warmup: int, total: int, step: int) -> None:
    assert 0.0 <= factor(step, kind=kind, warmup_steps=min(warmup, total), total_steps=total) <= 1.0


def test_a_misspelt_schedule_is_answered_with_the_right_word() -> None:
    with pytest.raises(RangeError, match="Did you mean 'cosine'"):
        factor(0, kind="cosin", total_steps=1)


@pytest.mark.parametrize(("step", "warmup", "total"), [(-1, 0, 1), (0, 2, 1), (0, -1, 1), (0, 0, 0)])
def test_numbers_out_of_range_are_refused(step: int, warmup: int, total: int) -> None:
    with pytest.raises(RangeError):
        factor(step, warmup_steps=warmup, total_steps=total)
