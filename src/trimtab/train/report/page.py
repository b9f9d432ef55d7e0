"""The page itself: numbers from the run folder put into one template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from trimtab.core.words import human_bytes
from trimtab.store.durable import write_bytes
from trimtab.train.metrics import FILE_NAME as METRICS_NAME
from trimtab.train.metrics import read_metrics
from trimtab.train.plan import Plan
from trimtab.train.questions import Answered
from trimtab.train.report.curve import Line, chart, smoothed

REPORT_NAME: Final = "report.html"
TEMPLATE_NAME: Final = "template.html"


@dataclass(frozen=True)
class Report:
    """What a report is made from, besides the run folder's metrics.

    Attributes:
        title: what was trained.
        result: the values of the run's result event.
        settings: every setting.
        hashes: what identifies model, data and weights.
        versions: of the software.
        plan: what was expected; None where no plan was made.
        answered: held-out prompts before and after.
        counted: name of a behaviour to how often it showed before and after, and among how many.
        notes: sentences about the data.
    """

    title: str
    result: Mapping[str, Any]
    settings: Mapping[str, Any]
    hashes: Mapping[str, str]
    versions: Mapping[str, str]
    plan: Plan | None = None
    answered: Sequence[Answered] = ()
    counted: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write_report(folder: Path, report: Report) -> Path:
    """Write ``report.html`` into a run folder, from its metrics and ``report``."""
    import jinja2

    metrics = read_metrics(folder / METRICS_NAME)
    losses = [(row["step"], row["loss"]) for row in metrics if "loss" in row]
    evaluations = [(row["step"], row["eval_loss"]) for row in metrics if "eval_loss" in row]
    speeds = [(row["step"], row["tokens_per_s"]) for row in metrics if "tokens_per_s" in row]
    lines = [
        Line("training loss", losses, "train"),
        Line("training loss, averaged", smoothed(losses), "smooth"),
        Line("held-out loss", evaluations, "eval", dots=True),
    ]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["bytes"] = human_bytes
    template = environment.from_string(files(__package__).joinpath(TEMPLATE_NAME).read_text(encoding="utf-8"))
    page = template.render(
        report=report,
        loss_chart=chart(lines, x_label="step", y_label="loss"),
        speed_chart=chart([Line("tokens/s", speeds, "smooth")], x_label="step", y_label="tokens/s"),
        truth=_truth(report, metrics),
    )
    path = folder / REPORT_NAME
    write_bytes(path, page.encode())
    return path


def _truth(report: Report, metrics: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Compare the plan with what happened: name, planned, happened, difference."""
    if report.plan is None:
        return []
    rows = [_compared("peak memory", report.plan.peak_bytes, report.result.get("peak_bytes"), human_bytes)]
    times = sorted(row["seconds"] for row in metrics if "seconds" in row)
    if report.plan.seconds_a_step and times:
        rows.append(_compared("time a step", report.plan.seconds_a_step, times[len(times) // 2], "{:.2f} s".format))
    return rows


def _compared(name: str, planned: float, happened: float | None, write: Any) -> tuple[str, str, str, str]:
    if not happened:
        return name, write(planned), "-", "-"
    return name, write(planned), write(happened), f"{(planned - happened) / happened:+.0%}"
