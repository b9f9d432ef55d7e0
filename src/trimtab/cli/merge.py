"""``trimtab merge``: fold an adapter into its base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.console import AsJson, Debug, ModelArgument, Output, Quiet, show


def merge(
    model: ModelArgument,
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="Adapter folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    requantize: Annotated[bool, typer.Option("--requantize", help="Quantize again as the base was.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a model with the adapter folded in, and say what that changed in its logits."""
    from trimtab.core.device import work_offline
    from trimtab.models.merge_folder import merge_folder
    from trimtab.store.resolve import resolve

    folder = resolve(model)
    work_offline()
    show(merge_folder(folder, adapter, out, requantize=requantize), Output(as_json, quiet))
