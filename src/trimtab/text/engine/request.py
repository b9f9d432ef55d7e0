"""What is asked of a language model: a prompt, how to choose tokens, and what the answer may look like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from trimtab.core.errors import RangeError
from trimtab.text.engine.constraint import Constraint

MAX_TOKENS: Final = 1_000_000
MAX_STOPS: Final = 16
MAX_STOP_CHARACTERS: Final = 1_000
NUMBERS: Final[Mapping[str, tuple[float, float]]] = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.0, 100.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
ABOVE_LOW: Final = frozenset(("top_p", "repetition_penalty"))
WHOLE_NUMBERS: Final[Mapping[str, tuple[int, int]]] = {
    "max_tokens": (1, MAX_TOKENS),
    "seed": (-(2**63), 2**63 - 1),
    "top_k": (0, MAX_TOKENS),
    "logprobs": (0, 20),
}


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens.

    The penalties come first, then temperature, ``top_k``, ``top_p`` and ``min_p``, each on what the one before left,
    as in transformers.

    Attributes:
        max_tokens: most tokens to write.
        temperature: 0 always takes the likeliest token.
        top_p: draw among the likeliest tokens that make up this share.
        seed: of the draws; a draw depends on it and on how many tokens stand before, on nothing else.
        top_k: draw among so many likeliest tokens; 0 takes all.
        min_p: leave out tokens less likely than this share of the likeliest.
        repetition_penalty: divides positive and multiplies negative logits of tokens that occurred, in the prompt too;
            1 does nothing.
        presence_penalty: is taken from the logits of tokens that the answer has written; 0 does nothing.
        frequency_penalty: the same, times how often it has written them.
        stop: texts that end the answer and are not part of it, at most 16.
        logprobs: how many likely alternatives to report with each token's log-probability; None reports none.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    top_k: int = field(default=0, kw_only=True)
    min_p: float = field(default=0.0, kw_only=True)
    repetition_penalty: float = field(default=1.0, kw_only=True)
    presence_penalty: float = field(default=0.0, kw_only=True)
    frequency_penalty: float = field(default=0.0, kw_only=True)
    stop: tuple[str, ...] = field(default=(), kw_only=True)
    logprobs: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            RangeError: a value is not allowed.
        """
        for name, (low, high) in WHOLE_NUMBERS.items():
            value = getattr(self, name)
            if value is None and name == "logprobs":
                continue
            if type(value) is not int or not low <= value <= high:
                raise RangeError(f"{name} = {value!r:.40}: allowed is {low} to {high}.")
        for name, (least, most) in NUMBERS.items():
            _check_number(name, getattr(self, name), least, most)
        self._check_stops()

    def _check_stops(self) -> None:
        if not isinstance(self.stop, tuple) or len(self.stop) > MAX_STOPS:
            raise RangeError(f"stop = {self.stop!r:.80}: allowed is a tuple of at most {MAX_STOPS} texts.")
        for text in self.stop:
            if not isinstance(text, str) or not 1 <= len(text) <= MAX_STOP_CHARACTERS:
                raise RangeError(f"stop = {text!r:.80}: allowed are texts of 1 to {MAX_STOP_CHARACTERS} characters.")


def with_seeds(sampling: Sampling, count: int) -> list[Sampling]:
    """Give one for each of several answers: number n has its seed + n; the lowest seed follows the highest."""
    low, high = WHOLE_NUMBERS["seed"]
    seeds = [(sampling.seed + number - low) % (high - low + 1) + low for number in range(count)]
    return [replace(sampling, seed=seed) for seed in seeds]


@dataclass(frozen=True)
class Request:
    """One answer that is asked for.

    Attributes:
        prompt: token ids, at least one.
        sampling: how to choose tokens.
        adapter: a name that the decoder knows; None is the bare base.
        constraint: what the answer may look like; None is anything.
    """

    prompt: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    adapter: str | None = None
    constraint: Constraint | None = None


def _check_number(name: str, value: float, low: float, high: float) -> None:
    """Refuse what is no finite number in its range (NaN compares as outside)."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high or (value == low and name in ABOVE_LOW):
        lowest = f"above {low:g}" if name in ABOVE_LOW else f"{low:g}"
        raise RangeError(f"{name} = {value!r:.40}: allowed is {lowest} to {high:g}.")
