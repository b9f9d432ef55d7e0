"""Inversions on disk: the result as styles, adapter and a few numbers; the work in between as one file."""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.drag.adam import Moments
from trimtab.drag.invert.settings import InvertSettings
from trimtab.drag.invert.steps import Stage, State
from trimtab.drag.stored import ADAPTER_NAME as ADAPTER_NAME
from trimtab.drag.stored import hash_tensor, read_latent, write_latent
from trimtab.models.stylegan.adapter import Adapter, read_adapter, save_adapter
from trimtab.models.stylegan.generator import Generator
from trimtab.nn.freeze import fingerprint
from trimtab.store.documents import read_object
from trimtab.store.durable import make_folder, write_bytes
from trimtab.store.safetensors import TensorFile
from trimtab.store.safetensors_writer import safetensors_pieces

INVERSION_NAME: Final = "inversion.json"
LATENT_NAME: Final = "latent.safetensors"
WORKING_NAME: Final = "working.safetensors"
FORMAT: Final = 1
MOST_BYTES: Final = 1 << 16
REMEDY: Final = "Choose another folder, or delete this one and invert again."
STAGES: Final[tuple[Stage, ...]] = ("styles", "adapter")


@dataclass(frozen=True)
class Asked:
    """What an inversion is of, as hashes: generator, picture and settings."""

    generator_sha256: str = ""
    picture_sha256: str = ""
    settings_sha256: str = ""

    @classmethod
    def of(cls, generator: Generator, picture: Tensor, settings: InvertSettings) -> Asked:
        """Take the hashes."""
        words = json.dumps(asdict(settings), sort_keys=True).encode()
        return cls(hash_generator(generator), hash_tensor(picture), hashlib.sha256(words).hexdigest())


@dataclass(frozen=True)
class Inversion:
    """A picture as a generator makes it.

    Attributes:
        w_plus: styles.
        adapter: what is added to the generator.
        psnr_db: of what styles and adapter make.
        psnr_styles_db: of what the styles make alone.
        asked: what it is of.
    """

    w_plus: Float32[Tensor, "1 styles width"]
    adapter: Adapter
    psnr_db: float
    psnr_styles_db: float
    asked: Asked = field(default_factory=Asked)


def hash_generator(generator: Generator) -> str:
    """Give the SHA-256 of all a generator is made of."""
    assert isinstance(generator, nn.Module)
    return fingerprint(generator)


def is_inversion(folder: Path) -> bool:
    """Tell whether a folder holds a finished inversion."""
    return (folder / INVERSION_NAME).is_file()


def save_inversion(folder: Path, inversion: Inversion) -> None:
    """Write an inversion into a folder, which is made where it is absent; the last file makes it one.

    Raises:
        CheckpointError: the disk refused.
    """
    make_folder(folder)
    write_latent(folder / LATENT_NAME, inversion.w_plus)
    save_adapter(folder / ADAPTER_NAME, inversion.adapter)
    numbers = {"psnr_db": inversion.psnr_db, "psnr_styles_db": inversion.psnr_styles_db}
    document = {"format": FORMAT, **numbers, **asdict(inversion.asked)}
    write_bytes(folder / INVERSION_NAME, json.dumps(document, indent=1).encode())


def read_inversion(folder: Path, generator: Generator, *, asked: Asked | None = None) -> Inversion:
    """Read an inversion of a generator.

    Args:
        folder: that ``save_inversion`` wrote.
        generator: the bare one.
        asked: what it must be of; None takes any of this generator.

    Raises:
        MissingError: the folder holds no finished inversion.
        FormatError: a file is damaged.
        RangeError: it is of another generator, picture or settings.
    """
    path = folder / INVERSION_NAME
    if not is_inversion(folder):
        raise MissingError(f"{folder} holds no inversion. Run: trimtab drag GENERATOR --photo PHOTO --out DIR")
    document = read_object(path, most_bytes=MOST_BYTES, remedy=REMEDY)
    numbers = [_number(document, name, path) for name in ("psnr_db", "psnr_styles_db")]
    found = Asked(**{name: _word(document, name, path) for name in asdict(Asked())})
    if found.generator_sha256 not in ("", hash_generator(generator) if asked is None else asked.generator_sha256):
        raise RangeError(f"{folder} holds an inversion for another generator. {REMEDY}")
    if asked is not None and found != asked:
        raise RangeError(f"{folder} holds the inversion of another picture, or with other settings. {REMEDY}")
    w_plus = read_latent(folder / LATENT_NAME, generator)
    return Inversion(w_plus, read_adapter(folder / ADAPTER_NAME, generator), numbers[0], numbers[1], found)


class Working:
    """The file of an inversion that is not finished.

    Attributes:
        saved_at: when it was last written, by the monotonic clock.
    """

    def __init__(self, folder: Path, asked: Asked) -> None:
        """Choose the folder and what the work is of."""
        self.folder, self.path = folder, folder / WORKING_NAME
        self._asked = hashlib.sha256(json.dumps(asdict(asked)).encode()).digest()
        self.saved_at = time.monotonic()

    def save(self, state: State) -> None:
        """Put a state down.

        Raises:
            CheckpointError: the disk refused.
        """
        tensors = {
            "asked": torch.tensor(list(self._asked), dtype=torch.uint8),
            "place": torch.tensor([STAGES.index(state.stage), state.step]),
            "psnr_styles_db": torch.tensor([state.psnr_styles_db], dtype=torch.float64),
            "w_plus": state.w_plus,
        }
        for name, tensor in state.learned.items():
            moments = state.moments[name]
            tensors |= {f"learned.{name}": tensor, f"first.{name}": moments.first, f"second.{name}": moments.second}
        write_bytes(self.path, b"".join(safetensors_pieces(tensors)))
        self.saved_at = time.monotonic()

    def read(self, device: torch.device) -> State | None:
        """Take a state up; None where there is none.

        Raises:
            FormatError: the file is damaged.
            RangeError: it is of another picture, generator or settings.
        """
        if not self.path.is_file():
            return None
        file = TensorFile(self.path)
        if bytes(file.load("asked").tolist()) != self._asked:
            raise RangeError(f"{self.folder} holds the inversion of another picture, or with other settings. {REMEDY}")
        stage, step = (int(number) for number in file.load("place"))
        names = [name.removeprefix("learned.") for name in file.shapes if name.startswith("learned.")]
        learned = {name: file.load(f"learned.{name}").to(device) for name in names}
        parts = {name: [file.load(f"{part}.{name}").to(device) for part in ("first", "second")] for name in names}
        moments = {name: Moments(first, second, step) for name, (first, second) in parts.items()}
        reached = float(file.load("psnr_styles_db"))
        return State(STAGES[stage], step, learned, moments, file.load("w_plus").to(device), reached)

    def remove(self) -> None:
        """Delete the file: the work is done."""
        self.path.unlink(missing_ok=True)


def _number(document: dict[str, Any], name: str, path: Path) -> float:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FormatError(path, f"{name} is {value!r:.40}", remedy=REMEDY)
    return float(value)


def _word(document: dict[str, Any], name: str, path: Path) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise FormatError(path, f"{name} is {value!r:.40}", remedy=REMEDY)
    return value
