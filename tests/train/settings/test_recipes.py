"""Named settings are those of their source."""

from __future__ import annotations

import pytest

from trimtab.train.settings import GUANACO, RECIPES, TrainSettings


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_holds_settings_that_are_allowed(name: str) -> None:
    assert TrainSettings(**RECIPES[name])


def test_the_guanaco_recipe_is_that_of_the_paper() -> None:
    paper = {"rank": 64, "alpha": 16.0, "dropout": 0.1, "lr": 2e-4, "beta2": 0.999, "clip_norm": 0.3, "steps": 1875}
    paper |= {"source_max_length": 16, "target_max_length": 512, "quant_type": "nf4", "double": True}
    paper |= {"schedule": "constant", "optimizer_bits": 32, "group_by_length": True, "loss_on": "all"}
    assert {name: GUANACO[name] for name in paper} == paper
    assert GUANACO["batch_size"] * GUANACO["accumulate"] == 16
