"""Turning a generator's file of another program into a folder, once: the file is never needed again."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.core.job import Job, Note, Progress, Result, Saved, Started
from trimtab.models.stylegan.config import CONFIG_NAME, STYLEGAN2, TENSORS_NAME
from trimtab.models.stylegan.found import FoundGenerator
from trimtab.models.stylegan.official import official_generator, read_official
from trimtab.models.stylegan.rosinality import rosinality_generator
from trimtab.models.stylegan.tensorflow_era import is_tensorflow, tensorflow_generator
from trimtab.store.cards import Card, write_card
from trimtab.store.pickle_machine import Refused
from trimtab.store.safetensors_writer import TensorWriter
from trimtab.store.torch_archive import is_archive, read_archive, read_file
from trimtab.store.whole import whole_folder

SUFFIXES: Final = (".pkl", ".pt", ".pth")
ALLOWED: Final = f".gguf, {', '.join(SUFFIXES)}"
REMEDY: Final = "What can be imported is in docs/how-to/import-generator.md."
MOST_NOTE: Final = 2000
MOST_ARGUMENTS: Final = 64


def find_generator(path: Path, data: memoryview) -> FoundGenerator:
    """Find the generator in a file's bytes; nothing in them is run.

    Raises:
        FormatError: the file is damaged, hostile, or of another kind.
    """
    try:
        if is_archive(data):
            found = rosinality_generator(read_archive(data))
        else:
            value = read_official(data)
            found = tensorflow_generator(value) if is_tensorflow(value) else official_generator(value)
        found.check(len(data))
        return found.with_mean()
    except Refused as refusal:
        raise FormatError(path, str(refusal), offset=refusal.offset, remedy=REMEDY) from refusal


def import_generator(file: Path, out: Path) -> Job:
    """Convert a file with a StyleGAN2 into a folder of safetensors, sizes and a card.

    Args:
        file: an official pickle, of PyTorch or of TensorFlow, or a ``.pt`` in rosinality's layout.
        out: folder to make.

    Raises:
        MissingError: there is no such file.
        FormatError: it is damaged, hostile, or of another kind.
        RangeError: its name ends in something else, or ``out`` exists already.
    """
    if not file.exists():
        raise MissingError(f"{file} does not exist. Give the path of a file that ends in {ALLOWED}.")
    if file.suffix not in SUFFIXES:
        raise RangeError(f"{file.name}: files of this kind cannot be imported. Allowed: {ALLOWED}.")
    yield Started(f"converting {file.name}", str(out))
    data = read_file(file)
    found = find_generator(file, data)
    digest = hashlib.sha256(data).hexdigest()
    yield Note(f"a generator of {found.sizes.resolution} px, layout: {found.layout}. Nothing in the file was run.")
    with whole_folder(out) as folder:
        sizes = {name: (tensor.dtype, tensor.shape) for name, tensor in found.tensors.items()}
        with TensorWriter(folder / TENSORS_NAME, sizes) as writer:
            for done, (name, tensor) in enumerate(found.tensors.items(), start=1):
                writer.write(name, tensor)
                yield Progress("converting", done, len(sizes), "tensors")
        settings = {"kind": STYLEGAN2, **asdict(found.sizes)}
        (folder / CONFIG_NAME).write_text(json.dumps(settings, indent=2), encoding="utf-8")
        write_card(folder, Card(out.name, STYLEGAN2, file.name, "unknown", digest, _note(found)))
    yield Saved("model", str(out))
    yield Result(
        {"out": str(out), "sha256": digest, "kind": STYLEGAN2, "tensors": len(sizes), "arguments": _plain(found)}
    )


def _plain(found: FoundGenerator) -> dict[str, Any]:
    """Give the arguments that a file names, as far as they are plain and few."""
    plain = (
        (name, value)
        for name, value in found.arguments.items()
        if isinstance(value, str | int | None) or _is_finite(value)
    )
    return dict(islice(plain, MOST_ARGUMENTS))


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _note(found: FoundGenerator) -> str:
    arguments = f"Made with {json.dumps(_plain(found))}." if found.arguments else ""
    licence = "The licence of its weights is that of their publisher."
    return " ".join(filter(None, (f"Layout: {found.layout}.", arguments, found.remark, licence)))[:MOST_NOTE]
