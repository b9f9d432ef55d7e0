"""Generators that are offered; each is loaded when somebody first asks for its pictures."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from trimtab.core.errors import MissingError, did_you_mean
from trimtab.models.stylegan.config import is_generator
from trimtab.models.stylegan.generator import Generator
from trimtab.models.stylegan.load import load_generator
from trimtab.serve.drag.turns import Turns
from trimtab.store.bundled import bundled_models
from trimtab.store.cards import stored_models


@dataclass
class Loaded:
    """A generator in memory.

    Attributes:
        name: what it is called here.
        folder: where it was loaded from.
        generator: frozen.
        turns: whose turn it is to compute with it.
    """

    name: str
    folder: Path
    generator: Generator
    turns: Turns = field(default_factory=Turns)


class Generators:
    """The generators of a server; for any thread."""

    def __init__(self, named: Mapping[str, Path] | None = None, *, device: torch.device | None = None) -> None:
        """Choose what is offered.

        Args:
            named: folders by name; None offers every generator of the store, also those that are added later, and
                those that come with the package.
            device: where to work; the CPU where None.
        """
        self._named = None if named is None else dict(named)
        self._device = device
        self._loaded: dict[Path, Loaded] = {}
        self._loading = threading.Lock()

    def folders(self) -> dict[str, Path]:
        """Give the folders of all that are offered, by name."""
        if self._named is not None:
            return self._named
        found: dict[str, Path] = {}
        for card, folder in (*stored_models(), *bundled_models()):
            if is_generator(folder):
                found.setdefault(card.name, folder)
        return found

    def check(self, name: str) -> Path:
        """Give the folder of a name.

        Raises:
            MissingError: it is not offered.
        """
        folders = self.folders()
        if name not in folders:
            hint = did_you_mean(name[:80], folders) if folders else "Run: trimtab models add face"
            raise MissingError(f"no generator {name[:80]!r} here. {hint}")
        return folders[name]

    def load(self, name: str) -> Loaded:
        """Give a generator; the first call takes a while.

        Raises:
            MissingError: it is not offered, or its folder holds none.
            FormatError: a file is damaged.
        """
        folder = self.check(name)
        with self._loading:
            if folder not in self._loaded:
                generator = load_generator(folder)
                if self._device is not None and self._device.type != "cpu":
                    generator.to(self._device)  # type: ignore[attr-defined]
                self._loaded[folder] = Loaded(name, folder, generator)
            return self._loaded[folder]
