"""Files that survive a power cut: every operation that a checkpoint is made of, one method each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trimtab.core.errors import CheckpointError

CHUNK_BYTES: Final = 8 << 20
HASHED_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Written:
    """Size and SHA-256 of a file."""

    size_bytes: int
    sha256: str


class Disk:
    """The single operations on a disk; tests put one in its place that fails at the k-th call."""

    def make_folder(self, path: Path) -> None:
        """Create a folder and those above it; it may exist."""
        path.mkdir(parents=True, exist_ok=True)

    def create(self, path: Path) -> int:
        """Create a file that does not exist yet and give its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def write(self, descriptor: int, content: memoryview) -> int:
        """Write what fits and give its length."""
        return os.write(descriptor, content)

    def sync(self, descriptor: int) -> None:
        """Wait until a file is on the medium."""
        os.fsync(descriptor)

    def sync_folder(self, path: Path) -> None:
        """Wait until the names in a folder are on the medium."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give another name in one step; nothing but an empty folder or a file is replaced."""
        source.rename(target)

    def remove_file(self, path: Path) -> None:
        """Delete a file."""
        path.unlink()

    def remove_folder(self, path: Path) -> None:
        """Delete an empty folder."""
        path.rmdir()


def write_file(disk: Disk, path: Path, pieces: Iterable[bytes | memoryview]) -> Written:
    """Write a new file, wait until it is on the medium, and hash it on the way.

    Raises:
        OSError: the disk refused; the file may be there in part.
    """
    digest, size = hashlib.sha256(), 0
    descriptor = disk.create(path)
    try:
        for piece in pieces:
            content = memoryview(piece)
            while len(content):
                chunk = content[:CHUNK_BYTES]
                count = disk.write(descriptor, chunk)
                digest.update(chunk[:count])
                content, size = content[count:], size + count
        disk.sync(descriptor)
    finally:
        os.close(descriptor)
    return Written(size, digest.hexdigest())


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are absent.

    Raises:
        CheckpointError: the disk refused, or something else has its name.
    """
    try:
        Disk().make_folder(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be made ({error.strerror}). Choose another folder.") from error


def hash_file(path: Path) -> Written:
    """Read a file through and hash it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return Written(file.tell(), digest.hexdigest())


def hash_files(paths: Iterable[Path]) -> str:
    """Give the SHA-256 of files as if they were one, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(HASHED_BYTES):
                digest.update(block)
    return digest.hexdigest()


def remove_tree(disk: Disk, path: Path) -> None:
    """Delete a folder of files and folders; symbolic links are deleted, never followed."""
    for entry in sorted(path.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(disk, entry)
        else:
            disk.remove_file(entry)
    disk.remove_folder(path)


def sync_tree(disk: Disk, path: Path) -> None:
    """Wait until a folder with everything in it is on the medium."""
    for entry in path.iterdir():
        if entry.is_dir():
            sync_tree(disk, entry)
            continue
        with entry.open("rb") as file:
            disk.sync(file.fileno())
    disk.sync_folder(path)


def write_bytes(path: Path, content: bytes, *, disk: Disk | None = None) -> None:
    """Replace a small file whole: its old content stays until the new one is on the medium.

    Raises:
        CheckpointError: the disk refused.
    """
    disk = disk or Disk()
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        write_file(disk, temporary, [content])
        disk.rename(temporary, path)
        disk.sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} cannot be written ({error.strerror}). Free space, or choose another folder."
        ) from error
