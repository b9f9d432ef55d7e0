"""``trimtab export``: a model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.console import AsJson, Debug, ModelArgument, Output, Quiet, show


def export(
    model: ModelArgument,
    form: Annotated[str, typer.Option("--format", help="safetensors or gguf.")],
    out: Annotated[Path, typer.Option("--out", help="Folder (safetensors) or file (gguf) to write.")],
    adapter: Annotated[Path | None, typer.Option("--adapter", help="Adapter folder to fold in.")] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="f32, f16, bf16; for gguf f16 or q8_0.")] = "f16",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a dense model, an adapter folded in where one is given."""
    from trimtab.core.device import work_offline
    from trimtab.models.export import export_model
    from trimtab.store.resolve import resolve

    folder = resolve(model)
    work_offline()
    show(export_model(folder, out, form=form, adapter=adapter, dtype=dtype), Output(as_json, quiet))
