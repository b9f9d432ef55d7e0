"""Portraits: a photo that was made a generator's picture, and what of it is kept below a session's folder."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from trimtab.core.errors import FormatError, RangeError
from trimtab.drag.invert.run import Inversion
from trimtab.drag.recipe import PhotoStart, Start
from trimtab.drag.stored import ADAPTER_NAME, PHOTO_FOLDER, hash_tensor
from trimtab.models.stylegan.adapter import adapted
from trimtab.models.stylegan.generator import Generator
from trimtab.serve.drag.drawing import Drawing
from trimtab.serve.drag.encoding import png_of
from trimtab.store.documents import read_object
from trimtab.store.durable import hash_file, make_folder, write_bytes

FOLDER: Final = PHOTO_FOLDER
SQUARE_NAME: Final = "square.png"
FACTS_NAME: Final = "photo.json"
MOST_FACTS_BYTES: Final = 1 << 12


@dataclass(frozen=True)
class Facts:
    """What is written about a portrait.

    Attributes:
        generator: its name.
        photo_sha256: of the photo's file.
        square: centre, side and angle of what was cut out of it.
        strength: of its adapter.
    """

    generator: str
    photo_sha256: str = ""
    square: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    strength: float = 1.0


def read_facts(folder: Path) -> Facts | None:
    """Read what is written in a session's folder; None where it is no portrait.

    Raises:
        FormatError: it is damaged.
    """
    path = folder / FOLDER / FACTS_NAME
    if not path.is_file():
        return None
    document = read_object(path, most_bytes=MOST_FACTS_BYTES)
    words = [document.get(name) for name in ("generator", "photo_sha256")]
    numbers = [document.get("strength"), *(square if isinstance(square := document.get("square"), list) else ())]
    if (
        len(numbers) != 5
        or not all(isinstance(word, str) for word in words)
        or any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers)
    ):
        raise FormatError(path, "is no description of a portrait", remedy="Delete the drag, and begin with the photo.")
    strength, *square = (float(number) for number in numbers)  # type: ignore[arg-type]
    return Facts(str(words[0]), str(words[1]), tuple(square), strength)


def write_facts(folder: Path, facts: Facts) -> None:
    """Write what is to be known of a portrait.

    Raises:
        CheckpointError: the disk refused.
    """
    make_folder(folder / FOLDER)
    write_bytes(folder / FOLDER / FACTS_NAME, json.dumps(vars(facts)).encode())


def begin_portrait(folder: Path, square: Float32[Tensor, "1 3 rows columns"], facts: Facts) -> None:
    """Write the square of a photo that is to be made a portrait.

    Raises:
        CheckpointError: the disk refused.
    """
    write_facts(folder, facts)
    write_bytes(folder / FOLDER / SQUARE_NAME, png_of(square))


def strengthen(folder: Path, drawing: Drawing, strength: float) -> None:
    """Go on with more or less of a portrait's adapter.

    Args:
        folder: of the session.
        drawing: of a portrait.
        strength: 0 is none of it, 1 all.

    Raises:
        RangeError: it is no portrait, or the strength is not allowed.
    """
    if drawing.portrait is None:
        raise RangeError(f"strength {strength:g}: this picture is no photo and has no adapter.")
    generator: Generator = adapted(drawing.loaded.generator, drawing.portrait.adapter, strength)
    facts = replace(read_facts(folder) or Facts(drawing.loaded.name), strength=strength)
    drawing.exchange(generator, strength)
    write_facts(folder, facts)


def start_of(folder: Path, inversion: Inversion, facts: Facts) -> Start:
    """Say what a portrait's picture is of, as a recipe has it.

    Args:
        folder: of the session.
        inversion: of the photo.
        facts: what is written about it.
    """
    adapter = hash_file(folder / FOLDER / ADAPTER_NAME).sha256
    photo = PhotoStart(facts.photo_sha256, facts.square, facts.strength, adapter)
    return Start(None, 1.0, hash_tensor(inversion.w_plus), photo)


def read_square(folder: Path) -> Float32[Tensor, "1 3 rows columns"]:
    """Read the square of a photo.

    Raises:
        FormatError: it cannot be read.
    """
    from PIL import Image

    path = folder / FOLDER / SQUARE_NAME
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=["PNG"]) as picture:
            pixels = torch.from_numpy(np.asarray(picture.convert("RGB")).copy())
    except (OSError, ValueError, SyntaxError) as error:
        raise FormatError(path, f"cannot be read ({error!s:.80})", remedy="Begin with the photo again.") from error
    return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
