"""Model cards: what a folder in the store is, where it came from, and under which licence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from trimtab.core import device
from trimtab.core.errors import FormatError, MissingError, RangeError, did_you_mean
from trimtab.store.documents import read_object

CARD_NAME: Final = "trimtab.json"
MODEL_CONFIG: Final = "config.json"
GENERATOR_CONFIG: Final = "generator.json"
MAX_CARD_BYTES: Final = 1 << 20
REMEDY: Final = "Remove the model and add it again."


@dataclass(frozen=True)
class Card:
    """Provenance of a model folder.

    Attributes:
        name: its name in the store.
        family: architecture, as transformers calls it.
        source: where it was fetched or converted from.
        licence: SPDX identifier, or "unknown".
        sha256: of the source file.
        note: what a reader must know before quoting numbers.
        parent: name of the model it was made from; empty for an original.
    """

    name: str
    family: str
    source: str
    licence: str
    sha256: str
    note: str = ""
    parent: str = ""


def models_folder() -> Path:
    """Give the folder that holds the store's models."""
    return device.home() / "models"


def write_card(folder: Path, card: Card) -> None:
    """Write a card into a model folder."""
    (folder / CARD_NAME).write_text(json.dumps(asdict(card), indent=2), encoding="utf-8")


def read_card(folder: Path) -> Card | None:
    """Read a folder's card; None where it has none.

    Raises:
        FormatError: the card is damaged.
    """
    path = folder / CARD_NAME
    if not path.is_file():
        return None
    document = read_object(path, most_bytes=MAX_CARD_BYTES, remedy=REMEDY)
    try:
        return Card(**{key: str(value) for key, value in document.items()})
    except TypeError as error:
        raise FormatError(path, f"is no model card ({str(error)!r:.80})", remedy=REMEDY) from error


def stored_models() -> Iterator[tuple[Card, Path]]:
    """Go through the models of the store, by name."""
    folder = models_folder()
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if not path.name.startswith(".") and (card := read_card(path)) is not None:
                yield replace(card, name=path.name), path  # what a card calls itself is never used as a path


def folder_of(name: str) -> Path:
    """Find a model of the store.

    Raises:
        RangeError: the name could leave the store's folder.
        MissingError: there is none of that name; near ones are named.
    """
    check_name(name)
    folder = models_folder() / name
    if not folder.is_dir():
        raise MissingError(
            f"no model {name!r} in the store. {did_you_mean(name, [card.name for card, _ in stored_models()])}"
        )
    return folder


def check_name(name: str) -> None:
    """Insist that a name is safe as a folder's name.

    Raises:
        RangeError: it is not.
    """
    if not name or name.startswith(".") or not all(c.isalnum() or c in "._-" for c in name):
        raise RangeError(f"model name {name!r}: allowed are letters, digits, '.', '_' and '-', not starting with '.'.")
