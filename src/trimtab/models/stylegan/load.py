"""Generators on disk: a folder with a card, what kind and size the network is, and its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from trimtab.core.errors import FormatError, RangeError
from trimtab.models.stylegan.config import CONFIG_NAME, MOBILE, REMEDY, STYLEGAN2, TENSORS_NAME, read_config
from trimtab.models.stylegan.generator import Generator
from trimtab.models.stylegan.mobile import MobileSizes, MobileStyleGan
from trimtab.models.stylegan.stylegan2 import Sizes, StyleGan2
from trimtab.store.cards import CARD_NAME
from trimtab.store.durable import Disk, hash_file, write_file
from trimtab.store.safetensors import read_header
from trimtab.store.safetensors_writer import safetensors_pieces


def load_generator(path: Path) -> Generator:
    """Load a frozen generator from its folder.

    Raises:
        MissingError: the folder holds no generator.
        FormatError: a file in it is damaged, or of another kind.
    """
    sizes, tensors = _read_sizes(path), path / TENSORS_NAME
    try:
        generator = _network(sizes, _read_tensors(tensors))
    except RangeError as error:
        raise FormatError(tensors, f"does not fit {CONFIG_NAME}: {str(error).rstrip('.')}") from error
    card = path / CARD_NAME
    generator.card_sha256 = hash_file(card).sha256 if card.is_file() else ""
    return generator


def write_generator(folder: Path, sizes: Sizes | MobileSizes, tensors: Mapping[str, Tensor]) -> None:
    """Write sizes and tensors into a folder that exists; the card is the caller's.

    Raises:
        RangeError: the tensors are not those of such a network.
    """
    kind = STYLEGAN2 if isinstance(sizes, Sizes) else MOBILE
    _network(sizes, tensors)
    config = {"kind": kind, **asdict(sizes)}
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2), encoding="utf-8")
    write_file(Disk(), folder / TENSORS_NAME, safetensors_pieces(tensors))


def _network(sizes: Sizes | MobileSizes, tensors: Mapping[str, Tensor]) -> StyleGan2 | MobileStyleGan:
    return StyleGan2(sizes, tensors) if isinstance(sizes, Sizes) else MobileStyleGan(sizes, tensors)


def _read_sizes(folder: Path) -> Sizes | MobileSizes:
    document = read_config(folder)
    kind = document.pop("kind")
    try:
        return _sizes_of(Sizes if kind == STYLEGAN2 else MobileSizes, document)
    except (TypeError, RangeError) as error:
        problem = f"describes no {kind} ({error!s:.120})"
        raise FormatError(folder / CONFIG_NAME, problem, remedy=REMEDY) from error


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
    """Read all tensors into memory of their own: where they lie decides how they are added up, to the last bit."""
    from safetensors.torch import load_file

    read_header(path)
    return {name: tensor.clone() for name, tensor in load_file(path).items()}
