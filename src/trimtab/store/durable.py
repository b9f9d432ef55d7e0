"""Files that survive a power cut: every operation that a checkpoint is made of, one method each."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from trimtab.core.errors import CheckpointError

CHUNK_BYTES: Final = 8 << 20
TYPE_NAMES: Final = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


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


def hash_file(path: Path) -> Written:
    """Read a file through and hash it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return Written(file.tell(), digest.hexdigest())


def remove_tree(disk: Disk, path: Path) -> None:
    """Delete a folder of files and folders; symbolic links are deleted, never followed."""
    for entry in sorted(path.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            remove_tree(disk, entry)
        else:
            disk.remove_file(entry)
    disk.remove_folder(path)


def safetensors_pieces(tensors: dict[str, Tensor]) -> Iterable[memoryview | bytes]:
    """Give the bytes of a safetensors file one tensor at a time, so that they are never in memory twice."""
    header: dict[str, Any] = {}
    position = 0
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    for name, tensor in ordered:
        end = position + tensor.numel() * tensor.dtype.itemsize
        header[name] = {"dtype": TYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    yield len(raw).to_bytes(8, "little") + raw
    for _, tensor in ordered:
        yield tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


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
