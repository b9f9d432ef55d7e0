"""Checkpoints that are believed only after every byte was checked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from trimtab.core.errors import CheckpointError, MissingError, did_you_mean
from trimtab.store.checkpoint_folders import clean, steps_in
from trimtab.store.durable import hash_file
from trimtab.store.manifest import MANIFEST_NAME, read_manifest


@dataclass(frozen=True)
class Skipped:
    """A checkpoint that cannot be trusted, and what is wrong with it."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Loaded:
    """A checkpoint whose every byte agrees with its manifest."""

    path: Path
    step: int
    files: tuple[str, ...]

    def tensors(self, stem: str) -> dict[str, Tensor]:
        """Read the tensors of ``<stem>.safetensors``; the file is mapped, not copied."""
        from safetensors.torch import load_file

        tensors: dict[str, Tensor] = load_file(str(self._file(f"{stem}.safetensors")))
        return tensors

    def document(self, stem: str) -> Any:
        """Read ``<stem>.json``."""
        return json.loads(self._file(f"{stem}.json").read_bytes())

    def _file(self, name: str) -> Path:
        if name not in self.files:
            raise MissingError(f"{self.path}: no {name}. {did_you_mean(name, self.files)}")
        return self.path / name


def newest_valid(folder: Path) -> tuple[Loaded | None, list[Skipped]]:
    """Find the newest checkpoint that can be trusted, reading every byte of it.

    Returns:
        The checkpoint, or None where there is none, and the newer ones that were passed over: report them.
    """
    folder = Path(folder)
    skipped: list[Skipped] = []
    if not folder.is_dir():
        return None, skipped
    try:
        clean(folder)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: what a stopped run left half-done cannot be removed ({error.strerror}). "
            "Make the folder writable and run the same command again."
        ) from error
    for step in sorted(steps_in(folder), reverse=True):
        try:
            return verify(folder / f"step-{step}"), skipped
        except CheckpointError as error:
            skipped.append(Skipped(folder / f"step-{step}", str(error)))
    return None, skipped


def verify(path: Path) -> Loaded:
    """Check every file of a checkpoint against its manifest.

    Raises:
        CheckpointError: something is missing, damaged or unreadable; the message says what.
    """
    path = Path(path)
    try:
        manifest = read_manifest(path)
        for name, expected in manifest["files"].items():
            found = asdict(hash_file(path / name))
            if found["size_bytes"] != expected["size_bytes"]:
                raise CheckpointError(f"{name} has {found['size_bytes']:,} bytes instead of {expected['size_bytes']:,}")
            if found != expected:
                raise CheckpointError(f"{name} is damaged: its SHA-256 is not the one in {MANIFEST_NAME}")
    except FileNotFoundError as error:
        raise CheckpointError(f"{Path(error.filename).name} is missing") from error
    except OSError as error:
        raise CheckpointError(f"{Path(error.filename or path).name} cannot be read ({error.strerror})") from error
    return Loaded(path, manifest["step"], tuple(manifest["files"]))
