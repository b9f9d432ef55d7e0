"""Implementations to run a test on, and small quantized matrices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from needs import need
from trimtab.kernels import cpu, ops
from trimtab.kernels._library import library
from trimtab.quant import quantize

WAYS = ["reference", "cpu", "cpu-avx2", "cpu-portable"]
LEVELS = {"cpu-avx2": 1, "cpu-portable": 0}


@pytest.fixture(params=WAYS)
def impl(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each implementation, and the C code also held to older instruction sets."""
    way: str = request.param
    if way == "reference":
        return way
    need(library() is not None, "the C library", "Install gcc and run `pip install -e .`.")
    if way in LEVELS:
        allowed = min(LEVELS[way], cpu.level())
        monkeypatch.setattr(cpu, "level", lambda: allowed)
    return "cpu"


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(20)


@pytest.fixture
def pack(rng: torch.Generator) -> Callable[..., ops.Packed4bit]:
    """Quantizes a random matrix of a given shape."""

    def make(rows: int, cols: int, **options: object) -> ops.Packed4bit:
        return quantize(torch.randn(rows, cols, generator=rng), **options).packed()

    return make
