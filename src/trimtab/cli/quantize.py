"""``trimtab quantize``: a model folder in 4 or 8 bits that transformers + bitsandbytes load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.console import AsJson, Debug, ModelArgument, Output, Quiet, show


def quantize(
    model: ModelArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    kind: Annotated[str, typer.Option("--type", help="nf4, fp4 or int8.")] = "nf4",
    block_size: Annotated[int, typer.Option("--block-size", help="Weights per scale, 32 to 4096.")] = 64,
    double: Annotated[bool, typer.Option("--double/--no-double", help="Quantize the scales too.")] = True,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a model's linear layers in 4 or 8 bits; continues where it was stopped."""
    from trimtab.models.quantize_folder import quantize_folder
    from trimtab.store.resolve import resolve

    job = quantize_folder(resolve(model), out, kind=kind, block_size=block_size, double=double)
    show(job, Output(as_json, quiet))
