"""The report: one self-contained file with what happened, escaped, and a chart with round ticks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from trimtab.train.metrics import read_metrics
from trimtab.train.plan import Plan
from trimtab.train.questions import Answered
from trimtab.train.report import Report, write_report
from trimtab.train.report.curve import Line, chart, round_ticks, smoothed

RESULT: dict[str, Any] = {
    "steps": 3,
    "tokens": 300,
    "seconds": 6.0,
    "stopped_by": "all steps done",
    "eval_loss_before": 2.0,
    "eval_loss_after": 1.5,
    "tokens_per_s": 50.0,
    "peak_bytes": 2_000_000_000,
}


def plan() -> Plan:
    return Plan({"codes": 1_000_000_000}, 1_000_000_000, 2**40, 0, 2.0, 10**12, 10**9, 10**6, ())


def written(folder: Path, **changes: Any) -> str:
    rows = [{"step": n, "loss": 3.0 - n / 2, "tokens_per_s": 50.0, "seconds": 2.0} for n in (1, 2, 3)]
    rows += [{"step": 0, "eval_loss": 2.0}, {"step": 3, "eval_loss": 1.5}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    values: dict[str, Any] = {
        "title": "tiny, tuned",
        "result": RESULT,
        "settings": {"lr": 1e-4},
        "hashes": {"data_sha256": "abc"},
        "versions": {"torch": "2"},
        "plan": plan(),
        "answered": [Answered("<b>why?</b>", "because", "no idea", "because")],
        "counted": {"answers with because": (0, 1, 1)},
        "notes": ["17 rows"],
    }
    return write_report(folder, Report(**values | changes)).read_text(encoding="utf-8")


def test_report_needs_nothing_from_anywhere_else(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert not re.search(r"(src|href)\s*=|url\(|@import|https?://", page)


@pytest.mark.parametrize("words", ["2.000 → 1.500", "0 → 1 of 1", "abc", "17 rows", "no idea", "all steps done"])
def test_report_says_what_happened(tmp_path: Path, words: str) -> None:
    assert words in written(tmp_path)


def test_what_the_model_or_a_row_says_cannot_become_markup(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert "<b>why?</b>" not in page
    assert "&lt;b&gt;why?&lt;/b&gt;" in page


def test_plan_is_set_against_truth(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert "1.00 GB" in page
    assert "-50%" in page
    assert "+0%" in page


def test_report_without_plan_questions_or_held_out_rows_still_stands(tmp_path: Path) -> None:
    result = RESULT | {"eval_loss_before": None, "eval_loss_after": None}
    page = written(tmp_path, plan=None, answered=(), counted={}, result=result)
    assert "Plan and truth" not in page
    assert "held-out loss, before" not in page


def test_a_damaged_line_of_the_metrics_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n' + "[" * 100_000 + '\n{"step": 2}\n{"step"')
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 2}]


def test_a_chart_without_points_says_so() -> None:
    assert "Nothing was measured" in chart([Line("loss", [], "train")], x_label="step", y_label="loss")


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0, 19], [0, 5, 10, 15, 20]),
        ([0.8, 1.7], [0.75, 1.0, 1.25, 1.5, 1.75]),
        ([3, 3], [3, 4]),
        ([0], [0, 0.25]),
        ([1, 1000], [0, 250, 500, 750, 1000]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(values: list[float], ticks: list[float]) -> None:
    assert round_ticks(values) == ticks


def test_average_looks_back_only() -> None:
    points = [(float(n), float(n)) for n in range(10)]
    assert smoothed(points)[0] == (0.0, 0.0)
    assert smoothed(points)[9] == (9.0, 8.5)
