"""Settings as they are read from words, files and recipes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.core.errors import MissingError, UsageError
from trimtab.train.settings import read_settings

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


@pytest.mark.parametrize(("word", "said"), WRONG_TYPES)
def test_a_value_of_another_type_is_refused_by_name(refusal: Callable[..., str], word: str, said: str) -> None:
    assert said in refusal(word, UsageError)


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
