"""Shared by every test: shapes in signatures are checked at run time, and no test may reach a network."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import install_import_hook

os.environ["HF_HUB_OFFLINE"] = "1"

ROOMS = ("core", "kernels", "quant", "optim", "nn", "models", "text", "train", "drag")
CHECKED_ROOMS = [f"trimtab.{room}" for room in ROOMS]
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"  # an int is a float, as mypy has it
_hook = install_import_hook(CHECKED_ROOMS, CHECKER)


@pytest.fixture
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty model store of its own."""
    from trimtab.core.device import HOME_VARIABLE

    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail any test that opens a connection to another machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise AssertionError(f"a test tried to reach {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
