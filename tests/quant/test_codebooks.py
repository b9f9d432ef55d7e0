"""The levels, derived here a second way rather than copied."""

from __future__ import annotations

from statistics import NormalDist

import pytest
import torch

from trimtab.core.errors import RangeError
from trimtab.quant import FOUR_BIT_KINDS, dynamic_map, levels
from trimtab.quant.codebooks import check_kind

OUTERMOST = ((1 - 1 / 30) + (1 - 1 / 32)) / 2


def test_nf4_levels_are_quantiles_of_the_normal_distribution():
    quantile = NormalDist().inv_cdf
    positive = [quantile(float(p)) for p in torch.linspace(OUTERMOST, 0.5, 9, dtype=torch.float64)[:-1]]
    negative = [-quantile(float(p)) for p in torch.linspace(OUTERMOST, 0.5, 8, dtype=torch.float64)[:-1]]
    expected = torch.tensor(sorted([*positive, 0.0, *negative])) / max(positive)
    torch.testing.assert_close(levels("nf4"), expected, rtol=0, atol=2e-7)


def test_fp4_code_is_sign_two_exponent_bits_and_one_mantissa_bit():
    for code, level in enumerate(levels("fp4").tolist()):
        exponent, mantissa = (code >> 1) & 3, code & 1
        magnitude = {0: mantissa / 192, 1: 2 + mantissa, 2: 1 + mantissa / 2, 3: 1 + mantissa / 2}[exponent]
        magnitude *= {0: 1.0, 1: 1 / 3, 2: 1 / 3, 3: 1 / 6}[exponent]
        assert abs(level) == pytest.approx(magnitude, rel=1e-6)
        assert code < 8 or level <= 0


def test_int4_levels_are_even_steps():
    assert sorted({round(level * 7, 4) for level in levels("int4").tolist()}) == list(range(-7, 8))


@pytest.mark.parametrize("kind", FOUR_BIT_KINDS)
def test_levels_reach_one_and_hold_zero(kind):
    table = levels(kind)
    assert table.shape == (16,)
    assert table.abs().max() == 1
    assert 0.0 in table.tolist()


@pytest.mark.parametrize("signed", [True, False])
def test_the_dynamic_map_rises(signed):
    table = dynamic_map(signed)
    assert (table.diff() > 0).all()
    assert table[-1] == 1


def test_the_signed_map_is_symmetric_but_for_its_last_entry():
    table = dynamic_map(True)
    assert table[127] == 0
    assert torch.equal(table[:127].flip(0), -table[128:255])


def test_an_unknown_kind_gets_a_suggestion():
    with pytest.raises(RangeError, match="Did you mean 'nf4'"):
        check_kind("nf5")


def test_int8_has_no_table():
    with pytest.raises(RangeError, match="no table"):
        levels("int8")
