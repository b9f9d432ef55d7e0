"""Limits and types of settings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from trimtab.core.errors import RangeError
from trimtab.drag.limits import check_limits, kinds_of


@dataclass(frozen=True)
class Some:
    length: float = 2.0
    count: int = 3
    on: bool = True
    word: str = "a"


LIMITS = {"length": (0.5, 4.0), "count": (1, 3)}


@pytest.mark.parametrize("allowed", [Some(), Some(length=0.5), Some(length=4.0), Some(count=1)])
def test_both_ends_are_allowed(allowed):
    check_limits(allowed, LIMITS)


@pytest.mark.parametrize("length", [0.49, 4.01, -math.inf, math.nan])
def test_what_is_outside_is_named_with_what_is_allowed(length):
    with pytest.raises(RangeError, match=rf"^length {length}: allowed is 0\.5 to 4\.$"):
        check_limits(Some(length=length), LIMITS)


def test_what_has_no_limits_is_not_checked():
    check_limits(Some(count=1000), {"length": (0, 10)})


def test_every_setting_has_its_own_type():
    assert kinds_of(Some()) == {"length": float, "count": int, "on": bool, "word": str}
