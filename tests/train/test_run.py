"""The plan of a run: made once, kept for this run alone, and held to."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from train_runs import Making
from trimtab.core.job import Progress, Started
from trimtab.train import run as running
from trimtab.train.plan import Plan, job, make_plan
from trimtab.train.request import TrainRequest
from trimtab.train.run import PLAN_NAME, run

MIB = 1 << 20


@pytest.fixture(autouse=True)
def quick_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan without measuring time, in a process of constant size."""
    monkeypatch.setattr(job, "seconds_a_step", lambda *_: None)
    monkeypatch.setattr(job, "resident_bytes", lambda: 100 * MIB)


def _killed_before_the_first_checkpoint(request: TrainRequest) -> bool:
    """Run until the first sign of work, leave what kill -9 would leave, and tell whether a plan was made."""
    planned, events = False, run(request)
    for event in events:
        planned |= isinstance(event, Started) and event.what == "planning"
        if isinstance(event, Progress):
            break
    events.close()  # type: ignore[attr-defined]
    shutil.rmtree(request.out / "checkpoints", ignore_errors=True)
    return planned


def _kept(request: TrainRequest) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((request.out / PLAN_NAME).read_text())
    return plan


def test_a_run_that_goes_on_takes_its_plan_up(making: Making) -> None:
    assert _killed_before_the_first_checkpoint(making())
    assert not _killed_before_the_first_checkpoint(making(save_every=1, keep=7))


@pytest.mark.parametrize("changes", [{"batch_size": 4}, {"method": "lora"}, {"optimizer_budget": 8192}], ids=str)
def test_a_plan_of_other_settings_is_not_believed(making: Making, changes: dict[str, Any]) -> None:
    _killed_before_the_first_checkpoint(making())
    before = _kept(making())
    assert _killed_before_the_first_checkpoint(making(**changes))
    assert _kept(making())["parts"] != before["parts"]


def test_a_plan_of_another_model_is_not_believed(making: Making, base: Path, tmp_path: Path) -> None:
    _killed_before_the_first_checkpoint(making())
    other = shutil.copytree(base, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-4}))
    assert _killed_before_the_first_checkpoint(making(model=other))


@pytest.mark.parametrize("content", ["", "[]", "{}", "7", "[" * 100_000, '{"made_for": {}}'], ids=lambda text: text[:9])
def test_a_damaged_plan_is_made_again(making: Making, content: str) -> None:
    request = making()
    request.out.mkdir()
    (request.out / PLAN_NAME).write_text(content)
    assert _killed_before_the_first_checkpoint(request)
    assert Plan.from_json(_kept(request)).fits


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every plan find 8 kB less memory than the run would like."""
    monkeypatch.setattr(job, "LEAST_BUDGET", 4096)

    def tight(document: Any, settings: Any, *, device: str) -> Plan:
        free = make_plan(document, replace(settings, optimizer_budget=0), limit_bytes=10**12, calibrate=False)
        return make_plan(document, settings, limit_bytes=free.peak_bytes - 8192, device=device)

    monkeypatch.setattr(running, "make_plan", tight)


def _budget(request: TrainRequest) -> int:
    return int(tomllib.loads((request.out / "config.toml").read_text())["optimizer_budget"])


@pytest.mark.usefixtures("short")
def test_a_plan_that_counts_on_paging_sets_the_budget_of_its_run(making: Making) -> None:
    request = making()
    _killed_before_the_first_checkpoint(request)
    plan = _kept(request)
    assert plan["fits"]
    assert plan["paged_bytes"] == 8192
    assert _budget(request) == plan["parts"]["optimizer"] > 4096


@pytest.mark.usefixtures("short")
def test_a_budget_of_the_settings_is_kept_and_planned_with(making: Making) -> None:
    request = making(optimizer_budget=16_000)
    _killed_before_the_first_checkpoint(request)
    assert _budget(request) == 16_000
    assert _kept(request)["parts"]["optimizer"] == 16_000


def test_without_need_no_budget_is_set(making: Making) -> None:
    request = making()
    _killed_before_the_first_checkpoint(request)
    assert _budget(request) == 0
