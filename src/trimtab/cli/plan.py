"""``trimtab plan``: memory and time of a run, before any weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from trimtab.cli.console import AsJson, Debug, Device, Output, Quiet, read_bytes, show


def plan(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A stored name, a folder, or llama-7b, 13b, 33b, 65b.")],
    memory: Annotated[str | None, typer.Option("--memory", help="Fit into this, as in 48GB.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="qlora, lora, int8 or full.")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="guanaco: the settings of the QLoRA paper.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file of settings.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Taken, and not looked at.", hidden=True)] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say what a run would need; the LLaMA shapes are planned with the paper's settings on a GPU."""
    from trimtab.train.plan import SHAPES, plan_job
    from trimtab.train.settings import read_settings

    named = model in SHAPES
    recipe = recipe or ("guanaco" if named and config is None else None)
    overrides = {} if method is None else {"method": method}
    resolved = read_settings(config=config, recipe=recipe, words=settings or (), overrides=overrides)
    target = "cuda" if named and device == "auto" else _device(device)
    limit = read_bytes(memory, option="--memory") if memory else (48 * 10**9 if named else None)
    job = plan_job(model, _document(model), resolved, limit_bytes=limit, device=target, calibrate=not named)
    show(job, Output(as_json, quiet))


def _device(name: str) -> str:
    from trimtab.core.device import pick

    return pick(name).type if name in ("auto", "cpu") else name.partition(":")[0]


def _document(model: str) -> Mapping[str, Any]:
    from trimtab.models.config import read_model_config
    from trimtab.store.resolve import resolve
    from trimtab.train.plan import SHAPES

    return SHAPES[model] if model in SHAPES else read_model_config(resolve(model))
