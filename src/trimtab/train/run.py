"""A whole run as a person sees it: the plan, the training, and the report that compares the two."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from trimtab.core import device as devices
from trimtab.core.job import Event, Job, Note, Progress, Result, Saved, Started
from trimtab.models.config import read_model_config
from trimtab.store.adapter import WEIGHTS_NAME
from trimtab.store.durable import hash_file, write_bytes
from trimtab.store.lock import RunLock
from trimtab.train.loop import train
from trimtab.train.plan import Plan, make_plan, plan_events
from trimtab.train.questions import Answered, read_answers
from trimtab.train.report import Report, write_report
from trimtab.train.request import FREE_TO_CHANGE, TrainRequest
from trimtab.train.resume import surroundings

PLAN_NAME: Final = "plan.json"
MADE_FOR: Final = "made_for"
BESIDE_THE_PLAN: Final = {*FREE_TO_CHANGE} - {"optimizer_budget"}
"""Settings on which no plan depends."""


def run(request: TrainRequest, *, behaviours: Mapping[str, str] | None = None) -> Job:
    """Plan, train and report; the last event is the result of the training.

    Args:
        request: what to train.
        behaviours: name of something visible to the regular expression that finds it in an answer; counted over the
            held-out prompts before and after.

    Raises:
        whatever ``train`` raises.
    """
    request.out.mkdir(parents=True, exist_ok=True)
    with RunLock(request.out):
        pass  # a second process is refused before it plans; training itself takes the lock for good
    document = read_model_config(request.model)
    plan, is_new = yield from _planned(request, document)
    notes: list[str] = []
    values: dict[str, Any] = {}
    for event in train(_within(plan, request)):
        if is_new and isinstance(event, Progress):  # by now the folder is known to be this run's own
            kept = plan.to_json() | {MADE_FOR: _made_for(request, document)}
            write_bytes(request.out / PLAN_NAME, json.dumps(kept).encode())
            is_new = False
        if isinstance(event, Note):
            notes.append(event.text)
        if isinstance(event, Result):
            values = event.values
        else:
            yield event
    answered = read_answers(request.out)
    counted = count_behaviours(answered, behaviours or {})
    path = write_report(request.out, _report(request, plan, values, answered, counted, notes))
    yield Saved("report", str(path))
    yield Result(values | {"report": str(path), "behaviours": {name: list(seen) for name, seen in counted.items()}})


def count_behaviours(answered: Sequence[Answered], patterns: Mapping[str, str]) -> dict[str, tuple[int, int, int]]:
    """Count the answers in which each pattern is found: before, after, among how many."""
    counted = {}
    for name, pattern in patterns.items():
        found = re.compile(pattern)
        before = sum(bool(found.search(item.before)) for item in answered)
        after = sum(bool(found.search(item.after)) for item in answered)
        counted[name] = (before, after, len(answered))
    return counted


def _planned(request: TrainRequest, document: Mapping[str, Any]) -> Generator[Event, None, tuple[Plan, bool]]:
    """Make the plan, or take up the one that this run began with; tell whether it is new."""
    try:
        kept = json.loads((request.out / PLAN_NAME).read_text(encoding="utf-8"))
        if kept[MADE_FOR] == _made_for(request, document):
            return Plan.from_json(kept), False
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass  # a plan is only advice: where none can be read, or one of something else, it is made again
    yield Started("planning")
    plan = make_plan(document, request.settings, device=devices.pick(request.device).type)
    yield from plan_events(plan, steps=request.settings.steps or None)
    return plan, True


def _made_for(request: TrainRequest, document: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a plan depends on, as JSON gives it back."""
    settings = {name: value for name, value in asdict(request.settings).items() if name not in BESIDE_THE_PLAN}
    values = {"config": document, "device": devices.pick(request.device).type, "settings": settings}
    written: dict[str, Any] = json.loads(json.dumps(values))
    return written


def _within(plan: Plan, request: TrainRequest) -> TrainRequest:
    """Hold the optimizer to what the plan leaves it in memory, unless the settings say themselves."""
    if not plan.paged_bytes or request.settings.optimizer_budget:
        return request
    return replace(request, settings=replace(request.settings, optimizer_budget=plan.parts["optimizer"]))


def _report(
    request: TrainRequest,
    plan: Plan,
    values: Mapping[str, Any],
    answered: Sequence[Answered],
    counted: Mapping[str, tuple[int, int, int]],
    notes: Sequence[str],
) -> Report:
    weights = Path(values["adapter"]) / WEIGHTS_NAME
    hashes = {str(key): str(values[key]) for key in ("model_sha256", "data_sha256") if key in values}
    if weights.is_file():
        hashes["adapter_sha256"] = hash_file(weights).sha256
    return Report(
        title=f"{request.model_name or request.model.name}, tuned with {request.settings.method}",
        result=values,
        settings={"model": str(request.model), "data": request.data} | asdict(request.settings),
        hashes=hashes,
        versions=surroundings(),
        plan=plan,
        answered=answered,
        counted=counted,
        notes=notes,
    )
