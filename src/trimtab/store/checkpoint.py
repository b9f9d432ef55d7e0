"""Checkpoints that are there whole or not at all, and that are believed only after every byte was checked.

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from trimtab.core.errors import CheckpointError, MissingError, RangeError, ResourceError, did_you_mean
from trimtab.store.durable import TYPE_NAMES, Disk, hash_file, remove_tree, safetensors_pieces, write_file
from trimtab.store.manifest import MANIFEST_NAME, encode_manifest, read_manifest

STEP_FOLDER: Final = re.compile(r"step-(\d+)")
TEMPORARY: Final = re.compile(r"\.tmp-(step|old)-(\d+)-(\d+)")
STEM: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
REMEDIES: Final = {
    errno.ENOSPC: "Free space there",
    errno.EDQUOT: "Free space there or ask for a larger quota",
    errno.EACCES: "Make the folder writable",
    errno.EROFS: "Choose a folder that is writable",
}


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


def save(
    folder: Path,
    step: int,
    tensors: dict[str, dict[str, Tensor]],
    documents: dict[str, Any],
    *,
    keep: int,
    protect: Collection[int] = (),
    disk: Disk | None = None,
) -> Path:
    """Write ``step-N`` and remove the checkpoints that are no longer wanted.

    Args:
        folder: holds the checkpoints; made where it is absent.
        step: 0 or more; a checkpoint of the same step is replaced.
        tensors: file stem to named tensors.
        documents: file stem to what JSON can say (no NaN, no infinity).
        keep: how many to keep, this one among them; 1 or more. Those of later steps stay as they are.
        protect: steps that are never removed.
        disk: where the operations go; tests pass one that fails.

    Returns:
        The folder of the checkpoint.

    Raises:
        RangeError: a value is not allowed.
        CheckpointError: the disk refused; earlier checkpoints are untouched.
    """
    folder, disk = Path(folder), disk or Disk()
    contents = _contents(step, tensors, documents, keep)
    final, temporary = folder / f"step-{step}", folder / f".tmp-step-{step}-{os.getpid()}"
    done = False
    try:
        _prepare(disk, folder)
        _write(disk, temporary, step, contents)
        _publish(disk, temporary, final)
        _remove_old(disk, folder, step, keep, protect)
        done = True
    except OSError as error:
        raise _explain(error, final) from error
    finally:
        if not done:
            with suppress(OSError):  # what stays is removed at the next start
                clean(folder, disk=disk)
    return final


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
    for step in sorted(_steps(folder), reverse=True):
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


def clean(folder: Path, *, disk: Disk | None = None) -> None:
    """Remove what processes that are gone left half-done; a checkpoint that one of them had set aside comes back."""
    disk = disk or Disk()
    for path in sorted(Path(folder).iterdir()):
        match = TEMPORARY.fullmatch(path.name)
        if match is None or _is_other_living_process(int(match[3])):
            continue
        final = path.with_name(f"step-{match[2]}")
        if match[1] == "old" and not final.exists():
            disk.rename(path, final)
        else:
            remove_tree(disk, path)


def _contents(
    step: int, tensors: dict[str, dict[str, Tensor]], documents: dict[str, Any], keep: int
) -> dict[str, Iterable[bytes | memoryview]]:
    if step < 0 or keep < 1:
        raise RangeError(f"step={step}, keep={keep}. Allowed: step 0 or more, keep 1 or more.")
    for stem in (*tensors, *documents):
        if not STEM.fullmatch(stem) or f"{stem}.json" == MANIFEST_NAME:
            raise RangeError(f"{stem!r} cannot name a file of a checkpoint. Allowed: letters, digits, - and _.")
    files: dict[str, Iterable[bytes | memoryview]] = {}
    for stem, named in tensors.items():
        for name, tensor in named.items():
            if tensor.dtype not in TYPE_NAMES:
                raise RangeError(f"{stem}: {name} is {tensor.dtype}. Allowed: {', '.join(map(str, TYPE_NAMES))}.")
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


def _remove_old(disk: Disk, folder: Path, step: int, keep: int, protect: Collection[int]) -> None:
    earlier = sorted(number for number in _steps(folder) if number < step and number not in protect)
    for number in earlier[: max(0, len(earlier) - (keep - 1))]:
        leaving = folder / f".tmp-step-{number}-{os.getpid()}"
        disk.rename(folder / f"step-{number}", leaving)
        remove_tree(disk, leaving)


def _steps(folder: Path) -> list[int]:
    names = [STEP_FOLDER.fullmatch(path.name) for path in folder.iterdir()]
    return [int(match[1]) for match in names if match]


def _is_other_living_process(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _explain(error: OSError, final: Path) -> CheckpointError:
    remedy = REMEDIES.get(error.errno or 0, "Check the disk")
    saved = "is whole" if final.exists() else "was not saved"
    return CheckpointError(
        f"Checkpoint {final} {saved}, but the disk refused: {error.strerror}. Earlier checkpoints are untouched. "
        f"{remedy} and run the same command again."
    )
