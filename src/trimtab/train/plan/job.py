"""The plan of a run: a table of memory, an estimate of time, and what to change where it does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from trimtab.core.job import Event, Job, Note, Result, Started, Table
from trimtab.core.memory import available_bytes, free_on_gpu_bytes, resident_bytes
from trimtab.core.words import human_bytes, human_count, human_seconds
from trimtab.train.plan.calibrate import seconds_a_step
from trimtab.train.plan.memory import FULL_TUNING_BYTES, Place, Sizes, measure_sizes, parts_of
from trimtab.train.settings import TrainSettings

LEAST_BUDGET: Final = 64 << 20
GPU: Final = Place(program_bytes=600 << 20, other_bytes=2, gaps_share=0.0)
CPU_OTHER_BYTES: Final = 4
CPU_GAPS_SHARE: Final = 0.65
"""Of the C library's allocator, measured with bench/plan_truth.py."""


@dataclass(frozen=True)
class Plan:
    """What a run will need.

    Attributes:
        parts: bytes by name; they add up to ``peak_bytes``.
        peak_bytes: highest memory at one moment.
        limit_bytes: memory that there is.
        paged_bytes: optimizer state that will wait outside memory.
        seconds_a_step: estimated wall time of an optimizer step; None where it was not measured.
        full_tuning_bytes: what 16-bit full tuning with Adam would need, without activations.
        parameters: of the network.
        learning: parameters that learn.
        advice: what to change where it does not fit.
    """

    parts: Mapping[str, int]
    peak_bytes: int
    limit_bytes: int
    paged_bytes: int
    seconds_a_step: float | None
    full_tuning_bytes: int
    parameters: int
    learning: int
    advice: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Tell whether the run fits."""
        return self.peak_bytes <= self.limit_bytes

    def to_json(self) -> dict[str, Any]:
        """Give the plan's numbers."""
        return {
            "peak_bytes": self.peak_bytes,
            "parts": dict(self.parts),
            "fits": self.fits,
            "limit_bytes": self.limit_bytes,
            "paged_bytes": self.paged_bytes,
            "seconds_a_step": self.seconds_a_step,
            "full_tuning_bytes": self.full_tuning_bytes,
            "parameters": self.parameters,
            "learning": self.learning,
            "advice": list(self.advice),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """Read back what ``to_json`` gave."""
        kept = {name: values[name] for name in cls.__dataclass_fields__}
        return cls(**kept | {"advice": tuple(kept["advice"])})


def make_plan(
    document: Mapping[str, Any],
    settings: TrainSettings,
    *,
    limit_bytes: int | None = None,
    device: str = "cpu",
    calibrate: bool = True,
) -> Plan:
    """Plan a run from a config alone.

    Args:
        document: a ``config.json``.
        settings: of the run.
        limit_bytes: memory to fit into; None takes what this machine has available.
        device: "cpu" keeps what is not quantized in float32, a GPU in 16 bits.
        calibrate: measure time too, for at most 10 s.

    Raises:
        FormatError: the config describes no network that transformers knows.
    """
    on_cpu = device == "cpu"
    sizes = measure_sizes(document, settings, other_bytes=CPU_OTHER_BYTES if on_cpu else GPU.other_bytes)
    # The process is looked at only now, when the network's code is loaded, as it will be in the run.
    gaps_share = 0.0 if settings.gradient_checkpointing else CPU_GAPS_SHARE
    place = Place(resident_bytes(), CPU_OTHER_BYTES, gaps_share) if on_cpu else GPU
    limit = limit_bytes or (available_bytes() + place.program_bytes if on_cpu else free_on_gpu_bytes())
    parts = parts_of(sizes, settings, place)
    paged = 0 if settings.optimizer_budget else _page_out(parts, limit)
    peak = sum(parts.values())
    advice = () if peak <= limit else tuple(_advice(document, settings, place, peak - limit))
    return Plan(
        parts=parts,
        peak_bytes=peak,
        limit_bytes=limit,
        paged_bytes=paged + _outside(sizes, settings, place, parts["optimizer"] + paged),
        seconds_a_step=seconds_a_step(document, settings, sizes) if calibrate and on_cpu else None,
        full_tuning_bytes=sizes.parameters * FULL_TUNING_BYTES,
        parameters=sizes.parameters,
        learning=sizes.adapter_parameters,
        advice=advice,
    )


def plan_events(plan: Plan, *, steps: int | None = None) -> Iterator[Event]:
    """Show a plan."""
    rows: list[list[Any]] = [[name, human_bytes(count)] for name, count in plan.parts.items() if count]
    rows.append(["peak", human_bytes(plan.peak_bytes)])
    yield Table("memory", ["part", "size"], rows)
    verdict = "fits into" if plan.fits else "does NOT fit into"
    yield Note(f"{verdict} {human_bytes(plan.limit_bytes)}.", "info" if plan.fits else "warning")
    if plan.paged_bytes:
        paged = human_bytes(plan.paged_bytes)
        yield Note(f"{paged} of optimizer state will be paged out and fetched ahead of its use.")
    yield Note(
        f"{human_count(plan.learning)} of {human_count(plan.parameters)} parameters learn; 16-bit full tuning with "
        f"Adam would need {human_bytes(plan.full_tuning_bytes)} before activations."
    )
    for sentence in plan.advice:
        yield Note(sentence, "warning")
    if plan.seconds_a_step is not None:
        total = "" if steps is None else f", about {human_seconds(plan.seconds_a_step * steps)} for {steps} steps"
        yield Note(f"about {plan.seconds_a_step:.3g} s a step{total}.")


def plan_job(name: str, document: Mapping[str, Any], settings: TrainSettings, **options: Any) -> Job:
    """Make a plan, show it, and give it as the result."""
    yield Started(f"planning {settings.method} on {name}")
    plan = make_plan(document, settings, **options)
    yield from plan_events(plan, steps=settings.steps or None)
    yield Result(plan.to_json())


def _page_out(parts: dict[str, int], limit: int) -> int:
    """Move optimizer state out where memory is short; give the bytes moved.

    What is left is the budget that the run will give its optimizer.
    """
    over = sum(parts.values()) - limit
    movable = max(parts["optimizer"] - LEAST_BUDGET, 0)
    if over <= 0 or over > movable:
        return 0
    parts["optimizer"] -= over
    return over


def _outside(sizes: Sizes, settings: TrainSettings, place: Place, resident: int) -> int:
    """Give the optimizer state that the budget of the settings keeps out."""
    unlimited = parts_of(sizes, replace(settings, optimizer_budget=0), place)["optimizer"]
    return max(unlimited - resident, 0)


def _advice(document: Mapping[str, Any], settings: TrainSettings, place: Place, over: int) -> Iterator[str]:
    """Name the knobs that save most, with what each would bring."""
    changes: list[tuple[str, dict[str, Any]]] = []
    if settings.method != "qlora":
        changes.append(("--method qlora", {"method": "qlora", "targets": settings.targets}))
    if not settings.gradient_checkpointing:
        changes.append(("--set gradient_checkpointing=true", {"gradient_checkpointing": True}))
    if settings.batch_size > 1:
        changes.append(("--set batch_size=1", {"batch_size": 1}))
    if settings.max_length > 256:
        shorter = settings.max_length // 2
        changes.append((f"--set max_length={shorter}", {"max_length": shorter}))
    if settings.optimizer_bits == 32:
        changes.append(("--set optimizer_bits=8", {"optimizer_bits": 8}))
    if settings.optimizer_budget > LEAST_BUDGET:
        least = {"optimizer_budget": LEAST_BUDGET}
        changes.append((f"--set optimizer_budget={LEAST_BUDGET}", least))
    if settings.rank > 8:
        changes.append((f"--set rank={settings.rank // 2}", {"rank": settings.rank // 2}))
    yield f"{human_bytes(over)} too much. What would help, each by itself:"
    before = _peak(document, settings, place)
    for words, change in changes:
        after = _peak(document, replace(settings, **change), place)
        if after < before:
            enough = " (enough)" if before - after >= over else ""
            yield f"{words} saves {human_bytes(before - after)}{enough}"


def _peak(document: Mapping[str, Any], settings: TrainSettings, place: Place) -> int:
    """Give the peak of other settings in the same place, nothing paged out."""
    sizes = measure_sizes(document, settings, other_bytes=place.other_bytes)
    return sum(parts_of(sizes, settings, place).values())
