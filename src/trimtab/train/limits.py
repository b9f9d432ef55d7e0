"""When a run evaluates and when it ends: pure functions of its settings and of where it stands."""

from __future__ import annotations

import math

from trimtab.core.errors import RangeError
from trimtab.train.settings import TrainSettings
from trimtab.train.state import RunState


def total_steps(settings: TrainSettings, *, batches_per_epoch: int) -> int:
    """Give the optimizer steps of the whole run.

    Raises:
        RangeError: the warm-up is longer than that.
    """
    total = settings.steps or max(1, math.ceil(batches_per_epoch * settings.epochs / settings.accumulate))
    if settings.warmup_steps > total:
        raise RangeError(
            f"warmup_steps = {settings.warmup_steps}, but the run has {total} steps. "
            f"Allowed: 0 to {total}. Lower warmup_steps, or raise steps or epochs."
        )
    return total


def expected_steps(settings: TrainSettings, state: RunState, *, total: int) -> int:
    """Give the steps that the run will do, as far as the time limit lets one foresee."""
    limit = settings.time_limit_s
    if not limit or not state.elapsed_s:
        return total
    return min(total, max(state.step, int(limit * state.step / state.elapsed_s)))


def evaluation_is_planned(settings: TrainSettings, step: int) -> bool:
    """Tell whether the settings ask for an evaluation at a step, whatever ends the run."""
    return step == 0 or (settings.eval_every > 0 and step % settings.eval_every == 0)


def reason_to_stop(settings: TrainSettings, state: RunState, *, total: int) -> str:
    """Say why the run ends here; empty where it goes on."""
    if state.step >= total:
        return "all steps done"
    if _out_of_time(settings, state):
        return f"time limit of {settings.time_limit_s:g} s"
    if settings.patience and state.failures >= settings.patience:
        return f"no better held-out loss in {state.failures} evaluations"
    return ""


def _out_of_time(settings: TrainSettings, state: RunState) -> bool:
    """Tell whether one more step as long as the mean one would pass the limit."""
    limit = settings.time_limit_s
    return bool(limit) and state.elapsed_s * (1 + 1 / max(state.step, 1)) > limit
