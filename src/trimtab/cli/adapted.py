"""Adapters on the command line: their names, whether they are there, and the weights that they need beneath them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.core.errors import MissingError, UsageError

if TYPE_CHECKING:
    from trimtab.models.load import Quantization

AsStored = Annotated[
    bool, typer.Option("--as-stored", help="Do not quantize the model's weights as they were when the adapter learned.")
]
USUAL_NAME = "adapter"


def check_adapters(folders: Sequence[Path]) -> None:
    """Refuse what is no adapter folder, before anything large is loaded.

    Raises:
        MissingError: there is no adapter; one just below is named.
        FormatError: its config is damaged.
    """
    from trimtab.store.adapter import CONFIG_NAME, read_config

    for folder in folders:
        try:
            read_config(folder)
        except MissingError as error:
            below = folder / USUAL_NAME
            hint = f" Did you mean {below}?" if (below / CONFIG_NAME).is_file() else ""
            raise MissingError(f"{error}{hint}") from error


def name_adapters(folders: Sequence[Path]) -> dict[str, Path]:
    """Name adapters by their folder, or by the one above where that is just called ``adapter``.

    Raises:
        UsageError: two have the same name.
    """
    named: dict[str, Path] = {}
    for folder in folders:
        whole = folder.resolve()
        name = whole.parent.name if whole.name == USUAL_NAME else whole.name
        name = "".join(letter if letter.isalnum() else "_" for letter in name)
        name = name if name.isidentifier() else f"adapter_{name}"
        if name in named:
            raise UsageError(f"two adapters are called {name}: {named[name]} and {folder}. Rename one of the folders.")
        named[name] = folder
    return named


def trained_quantization(
    model: Path, adapters: Sequence[Path], *, as_stored: bool, quiet: bool = False
) -> Quantization | None:
    """Choose the form of a model's weights so that adapters find what they learned on, and say so on stderr.

    Raises:
        UsageError: they learned on different forms.
    """
    from trimtab.models.trained_base import form_for, quantization_like

    if as_stored:
        return None
    try:
        form = form_for(model, adapters)
    except UsageError as error:
        raise UsageError(f"{error} --as-stored leaves the weights as they are.") from error
    if form is None:
        return None
    if not quiet:
        typer.echo(
            f"{model.name} is quantized in memory ({form}), as when the adapter learned; --as-stored keeps it dense.",
            err=True,
        )
    return quantization_like(form)
