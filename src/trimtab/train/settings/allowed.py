"""What each setting of a training run may be, and the words in which anything else is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from trimtab.core.errors import RangeError
from trimtab.kernels.ops import BLOCK_SIZES
from trimtab.train.data.settings import MOST_HELD_OUT, LossOn, OnBadRow, Truncation

Method = Literal["qlora", "lora", "int8", "full"]
Schedule = Literal["constant", "linear", "cosine"]
QuantType = Literal["nf4", "fp4", "int4"]

MAX_SHOWN: Final = 60
TARGET: Final = re.compile(r"\w[\w.]*")
CHOICES: Final[Mapping[str, tuple[Any, ...]]] = MappingProxyType(
    {
        "method": get_args(Method),
        "schedule": get_args(Schedule),
        "loss_on": get_args(LossOn),
        "quant_type": get_args(QuantType),
        "on_bad_row": get_args(OnBadRow),
        "truncation": get_args(Truncation),
        "block_size": BLOCK_SIZES,
        "optimizer_bits": (32, 8),
    }
)
RANGES: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "steps": (0, 10**9),
        "epochs": (0, 10**6),
        "batch_size": (1, 65_536),
        "accumulate": (1, 65_536),
        "max_length": (2, 2**24),
        "source_max_length": (0, 2**24),
        "target_max_length": (0, 2**24),
        "lr": (0, 100),
        "warmup_steps": (0, 10**9),
        "weight_decay": (0, 100),
        "beta1": (0, 0.999999),
        "beta2": (0, 0.999999),
        "clip_norm": (0, 1e9),
        "rank": (1, 65_536),
        "alpha": (1e-6, 1e6),
        "dropout": (0, 0.99),
        "optimizer_budget": (0, 2**62),
        "eval_fraction": (0, MOST_HELD_OUT),
        "eval_every": (0, 10**9),
        "eval_limit": (1, 10**9),
        "save_every": (1, 10**9),
        "keep": (1, 10**6),
        "patience": (0, 10**6),
        "time_limit_s": (0, 10**9),
        "seed": (0, 2**63 - 1),
    }
)


def check_choice(name: str, value: Any) -> None:
    """Insist that a setting which is one of a few words or numbers is one of them; others pass.

    Raises:
        RangeError: it is not.
    """
    choices = CHOICES.get(name)
    if choices is not None and value not in choices:
        raise RangeError(f"{name} = {shown(value)}: allowed is {', '.join(map(str, choices))}.")


def check_range(name: str, value: float) -> None:
    """Insist that the number of a setting in ``RANGES`` lies in its range.

    Raises:
        RangeError: it does not, or is NaN.
    """
    least, most = RANGES[name]
    if not least <= value <= most:
        raise RangeError(f"{name} = {shown(value)}: allowed is {least} to {most}.")


def check_target(target: str) -> None:
    """Insist that a word can end a layer's name.

    Raises:
        RangeError: it cannot.
    """
    if not TARGET.fullmatch(target):
        raise RangeError(f"targets: {shown(target)} names no layer. Allowed: endings of names, as in q_proj.")


def shown(value: Any) -> str:
    """Write a value that somebody gave, short enough for one line of an error message."""
    try:
        return shortened(repr(value))
    except ValueError:  # Python refuses to write whole numbers of thousands of digits
        return "a huge number"


def shortened(text: str) -> str:
    """Cut a text that would fill the screen."""
    flat = " ".join(text.split())
    return flat if len(flat) <= MAX_SHOWN else f"{flat[:MAX_SHOWN]}..."
