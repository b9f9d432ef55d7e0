"""Names and folders of the working directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.core.errors import MissingError
from trimtab.store.bundled import bundled_folder
from trimtab.store.cards import Card, write_card
from trimtab.store.resolve import resolve


@pytest.fixture
def here(own_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own, over a store with one model."""
    stored = own_store / "models" / "tiny"
    stored.mkdir(parents=True)
    write_card(stored, Card("tiny", "llama", "here", "Apache-2.0", "0" * 64))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_without_a_model_does_not_hide_a_stored_one(here, own_store):
    (here / "tiny").mkdir()
    assert resolve("tiny") == own_store / "models" / "tiny"


def test_a_folder_without_a_model_does_not_hide_one_that_comes_with_the_package(here):
    (here / "cartoon").mkdir()
    assert resolve("cartoon") == bundled_folder("cartoon")


def test_a_folder_without_a_model_does_not_hide_how_one_is_added(here):
    (here / "smollm2").mkdir()
    with pytest.raises(MissingError, match="trimtab models add smollm2"):
        resolve("smollm2")


@pytest.mark.parametrize("config", ["config.json", "generator.json"])
def test_a_folder_with_a_model_is_taken_before_a_name(here, config):
    (here / "tiny").mkdir()
    (here / "tiny" / config).write_text("{}")
    assert resolve("tiny") == Path("tiny")


@pytest.mark.parametrize("path", ["./tiny", "other"])
def test_a_folder_that_is_no_known_name_is_taken_as_it_is(here, path):
    (here / path).mkdir()
    assert resolve(path) == Path(path)
