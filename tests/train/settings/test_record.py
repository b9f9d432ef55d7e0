"""The record of settings: every one explained, and none that contradicts another."""

from __future__ import annotations

from dataclasses import fields

import pytest

from trimtab.core.errors import RangeError
from trimtab.train.settings import TrainSettings, read_settings

COMBINATIONS = [
    (["method=full", "dropout=0.1"], "belong to adapters"),
    (["method=full", "targets=q_proj"], "belong to adapters"),
    (["steps=0", "epochs=0"], "nothing would be trained"),
    (["optimizer_budget=4095"], "holds no page. Allowed: 0 for no limit, or 4096"),
    (["patience=3"], "Set eval_every too"),
    (["eval_every=5", "eval_fraction=0"], "Set eval_fraction too"),
]


@pytest.mark.parametrize(("words", "said"), COMBINATIONS)
def test_what_contradicts_itself_is_refused_with_what_to_do(words: list[str], said: str) -> None:
    with pytest.raises(RangeError, match=said):
        read_settings(words=words)


def test_every_setting_is_explained() -> None:
    explained = TrainSettings.__doc__ or ""
    assert not [field.name for field in fields(TrainSettings) if f"        {field.name}: " not in explained]
