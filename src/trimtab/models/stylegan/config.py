"""What a generator's folder says about itself; read without loading torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import FormatError, MissingError
from trimtab.store.cards import GENERATOR_CONFIG
from trimtab.store.documents import read_object

CONFIG_NAME: Final = GENERATOR_CONFIG
TENSORS_NAME: Final = "generator.safetensors"
STYLEGAN2: Final = "stylegan2"
MOBILE: Final = "mobile-stylegan"
MOST_CONFIG_BYTES: Final = 1 << 16
REMEDY: Final = "Add or import the generator again."


def is_generator(folder: Path) -> bool:
    """Tell whether a folder holds a generator, whole or not."""
    return (folder / CONFIG_NAME).is_file()


def read_config(folder: Path) -> dict[str, Any]:
    """Read the kind and the sizes of a generator.

    Returns:
        "kind", one of ``STYLEGAN2`` and ``MOBILE``, and sizes that nobody has checked yet.

    Raises:
        MissingError: the folder holds no generator.
        FormatError: the file is damaged or of a kind that is not known.
    """
    path = folder / CONFIG_NAME
    if not is_generator(folder) or not (folder / TENSORS_NAME).is_file():
        needed = f"{CONFIG_NAME} and {TENSORS_NAME}"
        raise MissingError(f"{folder} holds no generator: needed are {needed}. Run: trimtab models add face")
    document = read_object(path, most_bytes=MOST_CONFIG_BYTES, remedy=REMEDY)
    if (kind := document.get("kind")) not in (STYLEGAN2, MOBILE):
        problem = f"has the kind {kind!r:.60}; known are {STYLEGAN2} and {MOBILE}"
        raise FormatError(path, problem, remedy=REMEDY)
    return document
