"""A tiny network, tiny rows, and requests to train one on the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from train_runs import SMALL, Making, write_rows
from trimtab.train.request import TrainRequest
from trimtab.train.settings import TrainSettings


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks this small are slower on two threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with its tokenizer."""
    return tiny.llama_folder(tmp_path_factory.mktemp("base"), hidden_size=32, intermediate_size=64)


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four questions with answers of several lengths."""
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


@pytest.fixture
def making(base: Path, rows: Path, tmp_path: Path) -> Making:
    """Make requests of small runs; keywords are settings, but for ``out``, ``model`` and ``data``."""

    def make(*, out: str = "run", model: Path = base, data: Path = rows, **settings: Any) -> TrainRequest:
        chosen = TrainSettings(**(SMALL | settings))
        return TrainRequest(model, str(data), tmp_path / out, chosen, device="cpu", questions=0)

    return make
