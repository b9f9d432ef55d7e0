"""What a setting may not be, and how the refusal is worded."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from trimtab.core.errors import RangeError
from trimtab.optim.schedules import KINDS
from trimtab.quant import FOUR_BIT_KINDS
from trimtab.train.settings import TrainSettings, read_settings
from trimtab.train.settings.allowed import CHOICES, RANGES, QuantType, Schedule, check_range, shown

OUT_OF_RANGE = [
    ("lr=-1", "lr = -1.0: allowed is 0 to 100"),
    ("lr=nan", "lr = nan: allowed is 0 to 100"),
    ("lr=inf", "lr = inf: allowed is 0 to 100"),
    ("rank=0", "rank = 0: allowed is 1 to"),
    ("rank=-8", "rank = -8: allowed is 1 to"),
    (f"rank={10**30}", "allowed is 1 to 65536"),
    ("dropout=1", "dropout = 1.0: allowed is 0 to 0.99"),
    ("dropout=nan", "dropout = nan"),
    ("alpha=0", "alpha = 0.0"),
    ("batch_size=0", "batch_size = 0"),
    ("accumulate=0", "accumulate = 0"),
    ("max_length=1", "max_length = 1"),
    ("clip_norm=-0.1", "clip_norm = -0.1"),
    ("clip_norm=inf", "clip_norm = inf"),
    ("beta2=1", "beta2 = 1.0"),
    ("eval_fraction=1", "eval_fraction = 1.0"),
    ("save_every=0", "save_every = 0"),
    ("keep=0", "keep = 0"),
    ("time_limit_s=-1", "time_limit_s = -1.0"),
    ("seed=-1", "seed = -1"),
    ("epochs=-0.5", "epochs = -0.5"),
    ("block_size=63", "allowed is 32, 64, 128"),
    ("optimizer_bits=16", "allowed is 32, 8"),
    ("method=magic", "allowed is qlora, lora, int8, full"),
    ("quant_type=nf3", "allowed is nf4, fp4, int4"),
    ("schedule=step", "allowed is constant, linear, cosine"),
    ("loss_on=everything", "allowed is targets, all, last"),
    ("on_bad_row=ignore", "allowed is stop, skip"),
    ("truncation=left", "allowed is cut, stop"),
    ('targets=q"proj', "names no layer"),
    ("targets=../../etc", "names no layer"),
]


@pytest.mark.parametrize(("word", "said"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_by_name(refusal: Callable[..., str], word: str, said: str) -> None:
    assert said in refusal(word, RangeError)


@pytest.mark.parametrize("name", RANGES)
def test_the_ends_of_a_range_are_refused_beyond_and_never_within(name: str) -> None:
    least, most = RANGES[name]
    for beyond in (least - 1, most + 1):
        with pytest.raises(RangeError, match=f"^{name} = "):
            read_settings(overrides={name: beyond})
    for within in (least, most):
        check_range(name, within)


def test_every_number_and_every_choice_has_its_bounds() -> None:
    free = {name for name, value in vars(TrainSettings()).items() if isinstance(value, bool | tuple)}
    assert set(vars(TrainSettings())) == free | CHOICES.keys() | RANGES.keys()


def test_the_schedules_are_those_of_the_optimizer() -> None:
    assert get_args(Schedule) == KINDS


def test_the_codes_of_a_base_are_those_of_four_bits() -> None:
    assert get_args(QuantType) == FOUR_BIT_KINDS


@pytest.mark.parametrize(
    ("value", "words"),
    [(10**5000, "a huge number"), ("y" * 99, f"'{'y' * 59}..."), ("a\n  b", "'a\\n b'"), (3, "3")],
    ids=["huge", "long", "lines", "short"],
)
def test_a_value_is_shown_in_a_few_words(value: object, words: str) -> None:
    assert shown(value) == words
