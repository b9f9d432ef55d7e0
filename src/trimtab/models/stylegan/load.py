"""Generators on disk: a folder with a card, what kind and size the network is, and its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.models.stylegan.generator import Generator
from trimtab.models.stylegan.mobile import MobileSizes, MobileStyleGan
from trimtab.models.stylegan.stylegan2 import Sizes, StyleGan2
from trimtab.store.documents import read_object

CONFIG_NAME: Final = "generator.json"
TENSORS_NAME: Final = "generator.safetensors"
STYLEGAN2: Final = "stylegan2"
MOBILE: Final = "mobile-stylegan"
MOST_CONFIG_BYTES: Final = 1 << 16
REMEDY: Final = "Add or import the generator again."


def load_generator(path: Path) -> Generator:
    """Load a frozen generator from its folder.

    The tensors are mapped from the file, so that nothing is read before it is used.

    Raises:
        MissingError: the folder holds no generator.
        FormatError: a file in it is damaged, or of another kind.
    """
    config, tensors = path / CONFIG_NAME, path / TENSORS_NAME
    if not config.is_file() or not tensors.is_file():
        raise MissingError(f"{path} holds no generator ({CONFIG_NAME}, {TENSORS_NAME}). Run: trimtab models add face")
    sizes = _read_sizes(config)
    try:
        if isinstance(sizes, Sizes):
            return StyleGan2(sizes, _read_tensors(tensors))
        return MobileStyleGan(sizes, _read_tensors(tensors))
    except RangeError as error:
        raise FormatError(tensors, f"does not fit {CONFIG_NAME}: {str(error).rstrip('.')}") from error


def write_generator(folder: Path, sizes: Sizes | MobileSizes, tensors: Mapping[str, Tensor]) -> None:
    """Write sizes and tensors into a folder that exists; the card is the caller's.

    Raises:
        RangeError: the tensors are not those of such a network.
    """
    from safetensors.torch import save_file

    kind = STYLEGAN2 if isinstance(sizes, Sizes) else MOBILE
    (StyleGan2 if isinstance(sizes, Sizes) else MobileStyleGan)(sizes, tensors)  # type: ignore[arg-type]
    config = {"kind": kind, **asdict(sizes)}
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2), encoding="utf-8")
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(whole, folder / TENSORS_NAME, metadata={"format": "pt"})


def _read_sizes(config: Path) -> Sizes | MobileSizes:
    document = read_object(config, most_bytes=MOST_CONFIG_BYTES, remedy=REMEDY)
    kind = document.pop("kind", None)
    if kind not in (STYLEGAN2, MOBILE):
        problem = f"has the kind {kind!r:.60}; known are {STYLEGAN2} and {MOBILE}"
        raise FormatError(config, problem, remedy=REMEDY)
    try:
        return _sizes_of(Sizes if kind == STYLEGAN2 else MobileSizes, document)
    except (TypeError, RangeError) as error:
        raise FormatError(config, f"describes no {kind} ({error!s:.120})", remedy=REMEDY) from error


def _sizes_of(of: type[Sizes] | type[MobileSizes], document: dict[str, Any]) -> Sizes | MobileSizes:
    """Build sizes of JSON values.

    Raises:
        TypeError: a value is missing, unknown or of another type.
        RangeError: a value is not allowed.
    """
    for field in fields(of):
        value = document.get(field.name)
        if field.name == "channels":
            if not isinstance(value, list) or any(type(item) is not int for item in value):
                raise TypeError(f"channels are {value!r:.60}")
            document["channels"] = tuple(value)
        elif field.name == "clamp":
            if value is not None and type(value) not in (int, float):
                raise TypeError(f"clamp is {value!r:.60}")
        elif type(value) is not int:
            raise TypeError(f"{field.name} is {value!r:.60}")
    return of(**document)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    from trimtab.store.safetensors import read_header

    read_header(path)
    tensors: dict[str, Tensor] = load_file(path)
    return tensors
