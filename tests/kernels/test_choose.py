"""Which implementation runs, and what is said when one cannot."""

from __future__ import annotations

import pytest

from trimtab.core.device import KERNELS_VARIABLE
from trimtab.core.errors import RangeError
from trimtab.kernels import choose


@pytest.fixture(autouse=True)
def fresh_choice():
    for decided in (choose.automatic, choose.backend):
        decided.cache_clear()
    yield
    for decided in (choose.automatic, choose.backend):
        decided.cache_clear()


def test_the_environment_forces_an_implementation(monkeypatch):
    monkeypatch.setenv(KERNELS_VARIABLE, "reference")
    assert choose.implementation("cpu") == "reference"


def test_without_a_library_the_reference_runs(monkeypatch):
    monkeypatch.delenv(KERNELS_VARIABLE, raising=False)
    monkeypatch.setattr(choose, "library", lambda: None)
    assert choose.implementation("cpu") == "reference"


def test_c_code_that_was_not_built_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(choose, "library", lambda: None)
    with pytest.raises(RangeError, match="not built"):
        choose.implementation("cpu", "cpu")


def test_c_code_is_refused_for_tensors_elsewhere():
    with pytest.raises(RangeError, match="cuda"):
        choose.implementation("cuda", "cpu")


def test_triton_is_refused_while_there_is_none():
    with pytest.raises(RangeError, match="Triton"):
        choose.implementation("cpu", "triton")


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(RangeError, match="Did you mean 'reference'"):
        choose.implementation("cpu", "referense")


def test_the_choice_is_logged_once(caplog, monkeypatch):
    monkeypatch.setenv(KERNELS_VARIABLE, "reference")
    with caplog.at_level("INFO", logger="trimtab.kernels"):
        choose.implementation("cpu")
        choose.implementation("cpu")
    assert [record.getMessage() for record in caplog.records] == ["kernels on cpu: reference"]
