"""Settings: what is read, what is refused, and how the refusal is worded."""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from trimtab.core.errors import MissingError, RangeError, UsageError
from trimtab.train.settings import GUANACO, TrainSettings, read_settings

MISSPELT = [
    ("lerning_rate=1", "lr"),
    ("batchsize=4", "batch_size"),
    ("Rank=4", "rank"),
    ("max_lenght=9", "max_length"),
    ("quant=nf4", "quant_type"),
    ("accumulation=2", "accumulate"),
    ("clip=1", "clip_norm"),
    ("grad_checkpointing=true", "gradient_checkpointing"),
    ("eval_evry=3", "eval_every"),
]
WRONG_TYPES = [
    ("rank=4.5", "expected a whole number"),
    ("rank=four", "expected a whole number"),
    ("rank=", "expected a whole number"),
    ("rank=1e3", "expected a whole number"),
    ("rank=0x10", "expected a whole number"),
    ("steps=1_0.0", "expected a whole number"),
    ("lr=fast", "expected a number"),
    ("lr=1,5", "expected a number"),
    ("packing=maybe", "expected true or false"),
    ("packing=1", "expected true or false"),
    ("double=", "expected true or false"),
    (f"rank={'9' * 5000}", "expected a whole number"),
]
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
COMBINATIONS = [
    (["method=full", "dropout=0.1"], "belong to adapters"),
    (["method=full", "targets=q_proj"], "belong to adapters"),
    (["steps=0", "epochs=0"], "nothing would be trained"),
    (["patience=3"], "Set eval_every too"),
    (["eval_every=5", "eval_fraction=0"], "Set eval_fraction too"),
]
BAD_WORDS = ["lr", "=3", "", "lr:1", "  =  "]
BAD_FILES: list[tuple[str | bytes, str]] = [
    ("lr: 0.1", "is no TOML file"),
    ("lr = ", "is no TOML file"),
    ("lr = 1\nlr = 2", "is no TOML file"),
    (b"\xff\xfe\x00lr", "is no TOML file"),
    ("lr = " + "9" * 5000, "is no TOML file"),
    ("rank = 0x" + "f" * 5000, "rank = a huge number"),
    ("targets = " + "[" * 20_000 + "]" * 20_000, "is no TOML file"),
    ("a." * 2_000 + "b = 1", "unknown setting 'a'"),
    ("[training]\nlr = 1", "unknown setting 'training'"),
    ("lr = true", "expected float, found bool"),
    ("rank = true", "expected int, found bool"),
    ("rank = 4.0", "expected int, found float"),
    ("rank = 2020-01-01", "expected int, found date"),
    ("method = 3", "expected str, found int"),
    ("packing = 1", "expected bool, found int"),
    ("targets = [1, 2]", "expected names"),
    ("targets = {a = 1}", "expected names"),
    ("lr = nan", "lr = nan"),
    ("lr = [1e-4]", "expected float, found list"),
    ("x = '" + "y" * 2_000_000 + "'", "larger than"),
]


@pytest.mark.parametrize(("word", "meant"), MISSPELT)
def test_a_misspelt_setting_says_what_may_have_been_meant(word: str, meant: str) -> None:
    with pytest.raises(UsageError, match="unknown setting") as refused:
        read_settings(words=[word])
    assert meant in str(refused.value)


@pytest.mark.parametrize(("word", "said"), WRONG_TYPES + OUT_OF_RANGE)
def test_a_wrong_value_is_refused_by_name(word: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_settings(words=[word])
    message = str(refused.value)
    assert word.partition("=")[0] in message
    assert said in message


@pytest.mark.parametrize(("words", "said"), COMBINATIONS)
def test_what_contradicts_itself_is_refused_with_what_to_do(words: list[str], said: str) -> None:
    with pytest.raises(RangeError, match=said):
        read_settings(words=words)


@pytest.mark.parametrize("word", BAD_WORDS)
def test_a_word_that_is_no_pair_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=r"expected key=value, as in --set lr=2e-4"):
        read_settings(words=[word])


@pytest.mark.parametrize(("content", "said"), BAD_FILES)
def test_a_bad_file_is_refused_at_once_in_one_short_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    began = time.process_time()
    with pytest.raises(UsageError) as refused:
        read_settings(config=path)
    message = str(refused.value).replace(str(path), "c.toml")
    assert said in message
    assert "\n" not in message
    assert len(message) < 600
    assert time.process_time() - began < 2.0


def test_a_file_that_is_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="does not exist"):
        read_settings(config=tmp_path / "none.toml")


def test_an_unknown_recipe_names_the_known_one() -> None:
    with pytest.raises(MissingError, match="Did you mean 'guanaco'"):
        read_settings(recipe="guanako")


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("lr=2e-4", "lr", 2e-4),
        ("lr=1", "lr", 1.0),
        ("rank = 8", "rank", 8),
        ("packing=TRUE", "packing", True),
        ("targets=q_proj, v_proj", "targets", ("q_proj", "v_proj")),
        ("targets=", "targets", ()),
        ("method=full", "method", "full"),
    ],
)
def test_a_word_is_read_in_the_type_of_its_setting(word: str, name: str, value: Any) -> None:
    found = getattr(read_settings(words=[word]), name)
    assert (found, type(found)) == (value, type(value))


def test_words_win_over_the_file_and_the_file_over_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("rank = 8\nlr = 3e-4\n")
    settings = read_settings(recipe="guanaco", config=path, words=["rank=4"])
    assert (settings.rank, settings.lr, settings.clip_norm) == (4, 3e-4, 0.3)


@pytest.mark.parametrize("recipe", [None, "guanaco"])
def test_what_is_written_is_read_back(tmp_path: Path, recipe: str | None) -> None:
    settings = read_settings(recipe=recipe, words=["targets=q_proj,v_proj", "optimizer_budget=4096"])
    path = tmp_path / "config.toml"
    path.write_text(settings.to_toml())
    assert read_settings(config=path) == settings


def test_every_setting_is_explained() -> None:
    explained = TrainSettings.__doc__ or ""
    assert not [field.name for field in fields(TrainSettings) if f"        {field.name}: " not in explained]


def test_the_guanaco_recipe_is_that_of_the_paper() -> None:
    paper = {"rank": 64, "alpha": 16.0, "dropout": 0.1, "lr": 2e-4, "beta2": 0.999, "clip_norm": 0.3, "steps": 1875}
    paper |= {"source_max_length": 16, "target_max_length": 512, "quant_type": "nf4", "double": True}
    paper |= {"schedule": "constant", "optimizer_bits": 32, "group_by_length": True, "loss_on": "all"}
    assert {name: GUANACO[name] for name in paper} == paper
    assert GUANACO["batch_size"] * GUANACO["accumulate"] == 16
