"""``trimtab demo``: what this is for, shown on real networks in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.console import AsJson, Debug, Output, Quiet, Seed, show
from trimtab.core.errors import RangeError, did_you_mean

DEMOS = ("qlora", "drag")


def demo(
    what: Annotated[str, typer.Argument(metavar="[qlora|drag]", help="Which demonstration.")] = "qlora",
    out: Annotated[Path | None, typer.Option("--out", help="Folder; runs/demo, or runs/demo-drag.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Time for training.")] = 150.0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Of drag: open the page, or make a sheet of five edits.")
    ] = True,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int | None:
    """Tune a real language model frozen in 4 bits (qlora), or drag points of generated faces (drag)."""
    from trimtab.cli import demo_drag, demo_qlora

    output = Output(as_json, quiet)
    if what == "qlora":
        show(demo_qlora.tune(out or Path("runs/demo"), seconds, seed), output)
    elif what == "drag" and browser:
        return demo_drag.serve_page(as_json=as_json, quiet=quiet, debug=debug)
    elif what == "drag":
        show(demo_drag.five_edits(out or Path("runs/demo-drag")), output)
    else:
        raise RangeError(f"demo {what}: there is no such demonstration. {did_you_mean(what, DEMOS)}")
    return None
