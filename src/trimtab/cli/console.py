"""How a job's events reach a person (coloured lines and one bar) or a program (one JSON object a line)."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.core.errors import RangeError
from trimtab.core.job import Event, Job, Note, Progress, Result, Saved, Started, Table
from trimtab.core.words import human_bytes

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line; the last one is the result.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the result.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of everything drawn at random.")]
MODEL_HELP = "A stored name, a folder, a .gguf file or hf:org/name."
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)]
INTERRUPTED = 130  # exit code after Ctrl-C


@dataclass(frozen=True)
class Output:
    """How to show a job."""

    as_json: bool = False
    quiet: bool = False


def show(job: Job, output: Output) -> dict[str, Any]:
    """Run a job to its end, showing its events; give the values of its result."""
    if output.as_json:
        return _as_json(job)
    return _for_a_person(job, output)


def _as_json(job: Job) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for event in job:
        print(json.dumps(_finite(event.to_json())), flush=True)
        if isinstance(event, Result):
            values = event.values
    return values


def _for_a_person(job: Job, output: Output) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(quiet=output.quiet, highlight=False, soft_wrap=True)
    columns = (  # what a narrow terminal cuts off stands last
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.completed:g}/{task.total:g} {task.fields[unit]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[values]}"),
        TextColumn("[green]{task.fields[saved]}"),
    )
    values: dict[str, Any] = {}
    lively = sys.stdout.isatty() and not output.quiet
    with Bar(*columns, console=console, transient=True, refresh_per_second=4) if lively else nullcontext() as bar:
        printer = _Printer(console, bar)
        for event in job:
            printer.show(event)
            if isinstance(event, Result):
                values = event.values
    return values


class _Printer:
    """Shows events one after another; progress moves a bar, or now and then prints a line where there is none."""

    def __init__(self, console: Any, bar: Bar | None) -> None:
        self.console, self.bar = console, bar
        self.tasks: dict[str, Any] = {}
        self.printed: dict[str, float] = {}

    def show(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Started):
            self._line((event.what, "bold"), (f" -> {event.out}" if event.out else "", ""))
        elif isinstance(event, Note):
            style = {"warning": "yellow", "heading": "bold cyan"}.get(event.kind, "")
            mark = {"warning": "  ! ", "heading": ""}.get(event.kind, "  ")
            self._line((mark + event.text, style))
        elif isinstance(event, Saved):
            self._saved(event)
        elif isinstance(event, Table):
            self._table(event)

    def _saved(self, event: Saved) -> None:
        """Tell what is complete; checkpoints on the way move by in the bar instead of filling the screen."""
        if event.what == "checkpoint" and self.bar is not None and self.tasks:
            for task in self.tasks.values():
                self.bar.update(task, saved=f"saved {Path(event.path).name}")
        else:
            self._line(("  saved", "green"), (f" {event.what}: {event.path}", ""))

    def _line(self, *parts: tuple[str, str]) -> None:
        """Print pieces of text, each with its style; nothing in them is taken for markup."""
        from rich.text import Text

        self.console.print(Text.assemble(*parts))

    def _progress(self, event: Progress) -> None:
        values = "  ".join(f"{key} {figure}" for key, figure in _figures(event.values))
        if self.bar is not None:
            self._move(self.bar, event, values)
            return
        now = time.monotonic()
        over = event.done >= event.total
        if over or now - self.printed.get(event.what, 0.0) >= SECONDS_BETWEEN_LINES:
            self.printed[event.what] = 0.0 if over else now
            self._line((f"  {event.what} {event.done:g}/{event.total:g} {event.unit}  {values}".rstrip(), ""))

    def _move(self, bar: Bar, event: Progress, values: str) -> None:
        """Move the bar of this kind of work; when it is done a line takes its place."""
        if event.done >= event.total:
            if event.what in self.tasks:
                bar.remove_task(self.tasks.pop(event.what))
            self._line((f"  {event.what} {event.total:g} {event.unit}  ", ""), (values, "dim"))
            return
        if event.what not in self.tasks:
            self.tasks[event.what] = bar.add_task(event.what, total=event.total, unit="", values="", saved="")
        task = self.tasks[event.what]
        bar.update(task, completed=event.done, total=event.total, unit=event.unit, values=values)

    def _table(self, event: Table) -> None:
        from rich.table import Table as Drawn

        drawn = Drawn(title=event.title or None, title_justify="left", header_style="bold")
        for index, column in enumerate(event.columns):
            drawn.add_column(column, justify="left" if index == 0 else "right")
        for row in event.rows:
            drawn.add_row(*(_figure(column, value) for column, value in zip(event.columns, row, strict=True)))
        self.console.print(drawn)


SECONDS_BETWEEN_LINES = 5.0
SHOWN = ("loss", "eval_loss", "tokens_per_s", "memory_bytes", "distance_px")
LABELS = {
    "loss": "loss",
    "eval_loss": "held-out loss",
    "tokens_per_s": "tokens/s",
    "memory_bytes": "memory",
    "distance_px": "px left",
}


def _figures(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [(LABELS[key], _figure(key, values[key])) for key in SHOWN if key in values]


def _figure(name: str, value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if "bytes" in name and isinstance(value, int | float):
        return human_bytes(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def read_bytes(text: str, *, option: str, least: int = 1) -> int:
    """Read a size such as 48GB or 512MiB.

    Raises:
        RangeError: it is none, or too small.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = UNITS.get(match[2].upper()) if match is not None else None
    count = float(match[1]) * unit if match is not None and unit is not None else -1.0
    if not least <= count < math.inf:
        raise RangeError(f"{option} {text:.80}: expected a size such as 48GB or 512MiB.")
    return int(count)


def _finite(value: Any) -> Any:
    """Replace what JSON has no word for; it must stay visible, so it becomes a string, never 0."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
