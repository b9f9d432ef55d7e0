"""Writing GGUF files, version 3."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from trimtab.core.errors import RangeError
from trimtab.store.ggml import BLOCKS, GgmlType, encode
from trimtab.store.gguf import ARRAY_TYPE, DEFAULT_ALIGNMENT, MAGIC, STRING_TYPE

VERSION: Final = 3
UINT32, INT32, FLOAT32, BOOL = 4, 5, 6, 7


class GgufWriter:
    """Writes a file under a temporary name: first announce every tensor, then write each, in the same order."""

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Prepare to write ``path``, which appears once it is complete."""
        self.path = path
        self.partial = path.with_name(f".{path.name}-{os.getpid()}.partial")
        self.metadata = metadata
        self._tensors: dict[str, tuple[tuple[int, ...], GgmlType]] = {}
        self._written = 0

    def announce(self, name: str, shape: tuple[int, ...], kind: GgmlType) -> None:
        """State a tensor's shape, outermost first, and how it will be coded; rows that do not divide become F16."""
        if shape[-1] % BLOCKS[kind].elements:
            kind = GgmlType.F16
        self._tensors[name] = (shape, kind)

    def write(self, name: str, values: np.ndarray) -> None:
        """Code and write the next announced tensor.

        Raises:
            RangeError: another tensor is due.
        """
        due = list(self._tensors)[self._written]
        shape, kind = self._tensors[due]
        if name != due or values.shape != shape:
            raise RangeError(f"{name} {values.shape} was given, {due} {shape} is due.")
        if self._written == 0:
            self._file.write(self._header())
        self._file.write(_padding(self._file.tell()))
        self._file.write(encode(values.astype(np.float32), kind).tobytes())
        self._written += 1

    def __enter__(self) -> GgufWriter:
        """Open the temporary file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.partial.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the file its name if everything was written; otherwise remove it."""
        complete = kind is None and self._written == len(self._tensors)
        if complete:
            self._file.write(_padding(self._file.tell()))
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if complete:
            self.partial.rename(self.path)
            return
        self.partial.unlink(missing_ok=True)
        if kind is None:
            raise RangeError(f"{len(self._tensors) - self._written} announced tensors were never written.")

    def _header(self) -> bytes:
        head = MAGIC + struct.pack("<IQQ", VERSION, len(self._tensors), len(self.metadata))
        body = b"".join(_string(key) + _typed(value) for key, value in self.metadata.items())
        offset, entries = 0, b""
        for name, (shape, kind) in self._tensors.items():
            dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
            entries += _string(name) + dimensions + struct.pack("<IQ", kind, offset)
            nbytes = math.prod(shape) // BLOCKS[kind].elements * BLOCKS[kind].nbytes
            offset += nbytes + -nbytes % DEFAULT_ALIGNMENT
        return head + body + entries


def _padding(position: int) -> bytes:
    return b"\x00" * (-position % DEFAULT_ALIGNMENT)


def _string(text: str) -> bytes:
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _typed(value: Any) -> bytes:
    """Write a metadata value behind its type."""
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING_TYPE) + _string(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return struct.pack("<IIQ", ARRAY_TYPE, STRING_TYPE, len(value)) + b"".join(map(_string, value))
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return struct.pack(f"<IIQ{len(value)}i", ARRAY_TYPE, INT32, len(value), *value)
    raise RangeError(f"metadata value {value!r:.80}: allowed are numbers, strings and lists of one of them.")
