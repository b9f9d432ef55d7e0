"""``trimtab bench``: the scripts behind docs/benchmarks.md."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.console import AsJson, Debug, Output, Quiet, show
from trimtab.core.errors import MissingError, TrimtabError, did_you_mean
from trimtab.core.job import Job, Result, Started


def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A script of the bench folder, or all.")] = "all",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure against the field's usual software; each figure is a ratio from one run."""
    show(_measure(name, live=not (as_json or quiet)), Output(as_json, quiet))


def _measure(name: str, *, live: bool) -> Job:
    folder = Path(__file__).resolve().parents[3] / "bench"
    scripts = {path.stem: path for path in sorted(folder.glob("[a-z]*.py"))}
    if not scripts:
        raise MissingError("the benchmark scripts are not here: they come with a checkout of the source, in bench/.")
    if name != "all" and name not in scripts:
        raise MissingError(f"no benchmark {name!r}. {did_you_mean(name, [*scripts, 'all'])}")
    table: list[dict[str, object]] = []
    for stem in scripts if name == "all" else [name]:
        yield Started(f"bench {stem}")
        table += _run(scripts[stem], live=live)
    yield Result({"table": table})


def _run(script: Path, *, live: bool) -> list[dict[str, object]]:
    """Run one script in a process of its own, so that threads and memory of one do not disturb the next."""
    with tempfile.TemporaryDirectory() as temporary:
        rows = Path(temporary) / "rows.json"
        command = [sys.executable, str(script), "--json", str(rows)]
        done = subprocess.run(command, check=False, stdout=None if live else subprocess.DEVNULL)
        if done.returncode:
            raise TrimtabError(f"{script.name} failed with exit code {done.returncode}. Run it by itself to see why.")
        loaded: list[dict[str, object]] = json.loads(rows.read_text(encoding="utf-8"))
        return loaded
