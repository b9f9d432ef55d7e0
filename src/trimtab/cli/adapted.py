"""What commands that speak through an adapter say about the weights beneath it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trimtab.models.load import Quantization

AsStored = Annotated[
    bool, typer.Option("--as-stored", help="Do not quantize the model's weights as they were when the adapter learned.")
]


def trained_quantization(
    model: Path, adapter: Path | None, *, as_stored: bool, quiet: bool = False
) -> Quantization | None:
    """Choose the form of a model's weights so that an adapter finds what it learned on, and say so on stderr."""
    from trimtab.models.trained_base import form_missed, quantization_like

    form = None if adapter is None or as_stored else form_missed(model, adapter)
    if form is None:
        return None
    if not quiet:
        typer.echo(
            f"{model.name} is quantized in memory ({form}), as when the adapter learned; --as-stored keeps it dense.",
            err=True,
        )
    return quantization_like(form)
