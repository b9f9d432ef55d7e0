"""What may be asked for."""

from __future__ import annotations

import re
import subprocess
import sys
from math import inf, nan

import pytest

from trimtab.core.errors import RangeError
from trimtab.text.engine import Choices, JsonSchema, Regex, Sampling

WRONG = {
    "max_tokens": [0, -1, 1_000_001, True],
    "temperature": [-0.1, nan, inf, -inf, 1e9, True],
    "top_p": [0.0, -1.0, 1.1, nan],
    "min_p": [-0.1, 1.1, nan],
    "repetition_penalty": [0.0, -1.0, nan, inf, 101.0],
    "presence_penalty": [-2.1, 2.1, nan],
    "frequency_penalty": [-2.1, 2.1, inf],
    "seed": [2**63, -(2**63) - 1],
    "top_k": [-1, 1_000_001],
    "logprobs": [-1, 21],
    "stop": [("a",) * 17, ("",), ("a" * 1001,)],
}
WRONG_KINDS = {
    "max_tokens": [2.0, None],
    "temperature": ["1", None],
    "presence_penalty": ["1", None],
    "seed": [1.5],
    "top_k": [0.5],
    "logprobs": [1.0],
    "stop": ["text", (1,), None],
}
EDGES = {
    "max_tokens": [1, 1_000_000],
    "temperature": [0, 100],
    "top_p": [1e-9, 1],
    "min_p": [0, 1],
    "repetition_penalty": [1e-9, 100],
    "presence_penalty": [-2, 2],
    "frequency_penalty": [-2.0, 2.0],
    "seed": [-(2**63), 2**63 - 1],
    "top_k": [0, 1_000_000],
    "logprobs": [None, 0, 20],
    "stop": [(), ("a",) * 16, ("a" * 1000,)],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_value_out_of_range_is_named_with_what_is_allowed(field, value):
    with pytest.raises(RangeError, match=rf"^{field} = .*: allowed (is|are) "):
        Sampling(**{field: value})


def test_a_value_of_another_kind_is_named_as_well():
    """In a Python of its own, since here the types are checked before."""
    given = [(field, value) for field, values in WRONG_KINDS.items() for value in values]
    tries = f"""
from trimtab.core.errors import RangeError
from trimtab.text.engine import Sampling
for field, value in {given!r}:
    try:
        Sampling(**{{field: value}})
        print("taken")
    except RangeError as error:
        print(error)
"""
    said = subprocess.run([sys.executable, "-c", tries], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == len(given)
    for line, (field, _) in zip(said, given, strict=True):
        assert re.match(rf"{field} = .*: allowed (is|are) ", line)


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in EDGES.items() for value in values])
def test_the_ends_of_a_range_are_allowed(field, value):
    assert getattr(Sampling(**{field: value}), field) == value


def test_a_message_stays_short_however_long_the_value():
    with pytest.raises(RangeError) as caught:
        Sampling(stop=("a" * 10**6,))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Choices(()),
        lambda: Choices(("a", "")),
        lambda: Choices(("a",) * 10_001),
        lambda: Regex(""),
        lambda: Regex("a" * 200_001),
        lambda: Choices(("\ud800",)),
        lambda: Regex("a\udfff"),
        lambda: JsonSchema('{"const": "\ud800"}'),
        lambda: JsonSchema("{"),
        lambda: JsonSchema("[]"),
        lambda: JsonSchema("[" * 100_000),
        lambda: JsonSchema('{"const": NaN'),
    ],
)
def test_a_constraint_that_cannot_be_one_is_refused(wrong):
    with pytest.raises(RangeError, match=r"allowed is|must have|Give an object"):
        wrong()
