"""Models that come with the package: read where they lie, never copied, never removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from trimtab.store.cards import Card, read_card

ASSETS: Final = Path(__file__).parents[1] / "assets"


def bundled_models() -> Iterator[tuple[Card, Path]]:
    """Go through the models of the package, by name."""
    if ASSETS.is_dir():
        for path in sorted(ASSETS.iterdir()):
            if path.is_dir() and (card := read_card(path)) is not None:
                yield card, path


def bundled_folder(name: str) -> Path | None:
    """Find a model of the package by its name; None where there is none."""
    return next((path for card, path in bundled_models() if card.name == name), None)
