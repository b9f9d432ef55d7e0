"""Checkpoints that are there whole or not at all.

A checkpoint is a folder ``step-N`` of safetensors and JSON files with a manifest of their sizes and SHA-256. It is
written under a temporary name and renamed when it is on the medium, so that a crash at any moment leaves the earlier
ones as they were.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from trimtab.core.errors import CheckpointError, RangeError, ResourceError
from trimtab.store.checkpoint_folders import clean, steps_in
from trimtab.store.durable import Disk, remove_tree, write_file
from trimtab.store.manifest import MANIFEST_NAME, encode_manifest
from trimtab.store.safetensors import TYPE_NAMES
from trimtab.store.safetensors_writer import safetensors_pieces, type_name

STEM: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
REMEDIES: Final = {
    errno.ENOSPC: "Free space there",
    errno.EDQUOT: "Free space there or ask for a larger quota",
    errno.EACCES: "Make the folder writable",
    errno.EROFS: "Choose a folder that is writable",
}


@dataclass(frozen=True)
class Kept:
    """Which checkpoints stay.

    Attributes:
        newest: how many, the one being written among them; 1 or more.
        always: steps that are never removed.
    """

    newest: int
    always: Collection[int] = ()


def save(
    folder: Path,
    step: int,
    tensors: dict[str, dict[str, Tensor]],
    documents: dict[str, Any],
    *,
    kept: Kept,
    disk: Disk | None = None,
) -> Path:
    """Write ``step-N`` and remove the checkpoints that are no longer wanted.

    Args:
        folder: holds the checkpoints; made where it is absent.
        step: 0 or more; a checkpoint of the same step is replaced.
        tensors: file stem to named tensors.
        documents: file stem to what JSON can say (no NaN, no infinity).
        kept: which of the earlier ones stay. Those of later steps stay as they are.
        disk: where the operations go; tests pass one that fails.

    Returns:
        The folder of the checkpoint.

    Raises:
        RangeError: a value is not allowed.
        CheckpointError: the disk refused; earlier checkpoints are untouched.
    """
    folder, disk = Path(folder), disk or Disk()
    contents = _contents(step, tensors, documents, kept)
    final, temporary = folder / f"step-{step}", folder / f".tmp-step-{step}-{os.getpid()}"
    done = False
    try:
        _prepare(disk, folder)
        _write(disk, temporary, step, contents)
        _publish(disk, temporary, final)
        _remove_old(disk, folder, step, kept)
        done = True
    except OSError as error:
        raise _explain(error, final) from error
    finally:
        if not done:
            with suppress(OSError):  # what stays is removed at the next start
                clean(folder, disk=disk)
    return final


def require_free(folder: Path, needed_bytes: int) -> None:
    """Insist on free space before long work begins.

    Raises:
        ResourceError: the disk that holds ``folder`` has less.
    """
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise ResourceError(
            f"{folder}: {free:,} bytes are free, {needed_bytes:,} are needed. "
            "Free space there, choose another folder with --out, or keep fewer checkpoints (keep)."
        )


def _contents(
    step: int, tensors: dict[str, dict[str, Tensor]], documents: dict[str, Any], kept: Kept
) -> dict[str, Iterable[bytes | memoryview]]:
    if step < 0 or kept.newest < 1:
        raise RangeError(f"step={step}, keep={kept.newest}. Allowed: step 0 or more, keep 1 or more.")
    for stem in (*tensors, *documents):
        if not STEM.fullmatch(stem) or f"{stem}.json" == MANIFEST_NAME:
            raise RangeError(f"{stem!r} cannot name a file of a checkpoint. Allowed: letters, digits, - and _.")
    files: dict[str, Iterable[bytes | memoryview]] = {}
    for stem, named in tensors.items():
        for name, tensor in named.items():
            if type_name(tensor) not in TYPE_NAMES:
                raise RangeError(f"{stem}: {name} is {tensor.dtype}. Allowed: {', '.join(TYPE_NAMES)}.")
        files[f"{stem}.safetensors"] = safetensors_pieces(named)
    for stem, document in documents.items():
        try:
            files[f"{stem}.json"] = [json.dumps(document, indent=1, allow_nan=False).encode()]
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{stem}.json cannot be written: {error}. Nothing was saved.") from error
    return files


def _prepare(disk: Disk, folder: Path) -> None:
    if folder.exists():
        clean(folder, disk=disk)
        return
    disk.make_folder(folder)
    disk.sync_folder(folder.parent)


def _write(disk: Disk, temporary: Path, step: int, contents: dict[str, Iterable[bytes | memoryview]]) -> None:
    disk.make_folder(temporary)
    written = {name: write_file(disk, temporary / name, pieces) for name, pieces in contents.items()}
    write_file(disk, temporary / MANIFEST_NAME, [encode_manifest(step, written)])
    disk.sync_folder(temporary)


def _publish(disk: Disk, temporary: Path, final: Path) -> None:
    """Give the checkpoint its name; one of the same step steps aside first, and ``clean`` brings it back if need be."""
    aside = final.with_name(f".tmp-old-{final.name.removeprefix('step-')}-{os.getpid()}")
    if final.exists():
        disk.rename(final, aside)
    disk.rename(temporary, final)
    disk.sync_folder(final.parent)
    if aside.exists():
        remove_tree(disk, aside)


def _remove_old(disk: Disk, folder: Path, step: int, kept: Kept) -> None:
    earlier = sorted(number for number in steps_in(folder) if number < step and number not in kept.always)
    for number in earlier[: max(0, len(earlier) - (kept.newest - 1))]:
        leaving = folder / f".tmp-step-{number}-{os.getpid()}"
        disk.rename(folder / f"step-{number}", leaving)
        remove_tree(disk, leaving)


def _explain(error: OSError, final: Path) -> CheckpointError:
    remedy = REMEDIES.get(error.errno or 0, "Check the disk")
    saved = "is whole" if final.exists() else "was not saved"
    return CheckpointError(
        f"Checkpoint {final} {saved}, but the disk refused: {error.strerror}. Earlier checkpoints are untouched. "
        f"{remedy} and run the same command again."
    )
