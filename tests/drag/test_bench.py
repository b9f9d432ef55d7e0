"""Results that the benchmark keeps are those of one generator and of one way of measuring."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from dragging import net, wide

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("drag")


def test_what_is_kept_is_found_again_by_the_same_measurement_alone(bench, tmp_path, monkeypatch):
    known = {bench.Faces(generator, None, tmp_path).known("marks-3") for generator in (net(), net(), wide())}
    assert len(known) == 2
    known |= {bench.Faces(net(), None, tmp_path).known("marks-3", {"lr": lr}) for lr in (0.1, 0.2)}
    assert len(known) == 4
    monkeypatch.setattr(bench, "VERSION", bench.VERSION + 1)
    assert bench.Faces(net(), None, tmp_path).known("marks-3") not in known
