"""Holds a part of the examples out, the same part every time."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from trimtab.core.errors import DataError
from trimtab.train.data.encode import Example


def split(
    examples: Sequence[Example], eval_fraction: float, seed: int = 0
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Part examples into those that are learnt and those that are held out, both in their first order.

    Examples of one place (the instances of one instruction, the paths of one tree) stay together, so that nothing
    held out was seen.

    Args:
        examples: at least two places, unless nothing is to be held out.
        eval_fraction: the part of the places to hold out, from 0 to below 1; at least one place unless it is 0.
        seed: decides which.

    Raises:
        DataError: there are fewer than two places to part.
    """
    if eval_fraction == 0:
        return tuple(examples), ()
    places = list(dict.fromkeys(example.place for example in examples))
    if len(places) < 2:
        raise DataError(
            f"{len(places)} row found, at least 2 are needed to hold one out for evaluation. "
            "Give more rows, or set eval_fraction = 0."
        )
    count = min(max(1, round(len(places) * eval_fraction)), len(places) - 1)
    held_out = set(Random(f"split:{seed}").sample(places, count))
    return (
        tuple(example for example in examples if example.place not in held_out),
        tuple(example for example in examples if example.place in held_out),
    )
