"""Writing a safetensors file one tensor at a time."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final

import numpy as np

from trimtab.core.errors import RangeError
from trimtab.store.safetensors import METADATA_KEY

ALIGNMENT: Final = 8
_NUMPY_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"float32": "F32", "float16": "F16", "uint8": "U8", "int8": "I8", "int32": "I32", "int64": "I64"}
)


class TensorWriter:
    """Writes a safetensors file whose names, types and shapes are known, one tensor at a time and in any order."""

    def __init__(self, path: Path, sizes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> None:
        """Lay out the file; nothing is on disk until the writer is entered."""
        self.path = path
        self._offsets: dict[str, tuple[int, int]] = {}
        header: dict[str, Any] = {METADATA_KEY: {"format": "pt"}}
        position = 0
        for name, (dtype, shape) in sorted(sizes.items(), key=lambda item: (-item[1][0].itemsize, item[0])):
            nbytes = math.prod(shape) * dtype.itemsize
            self._offsets[name] = (position, nbytes)
            offsets = [position, position + nbytes]
            header[name] = {"dtype": _NUMPY_NAMES[dtype.name], "shape": list(shape), "data_offsets": offsets}
            position += nbytes
        raw = json.dumps(header, separators=(",", ":")).encode()
        raw += b" " * (-len(raw) % ALIGNMENT)
        self._header = len(raw).to_bytes(8, "little") + raw
        self._end = len(self._header) + position
        self._left = set(self._offsets)

    def __enter__(self) -> TensorWriter:
        """Open the file and write its header."""
        self._file = self.path.open("xb")
        self._file.write(self._header)
        return self

    def write(self, name: str, tensor: np.ndarray) -> None:
        """Write one tensor.

        Raises:
            RangeError: it was not announced, was written before, or has another size.
        """
        if name not in self._left:
            raise RangeError(f"{name}: not announced for {self.path.name}, or written already.")
        offset, nbytes = self._offsets[name]
        if tensor.nbytes != nbytes:
            raise RangeError(f"{name}: {tensor.nbytes} bytes were given, {nbytes} were announced.")
        self._file.seek(len(self._header) + offset)
        self._file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
        self._left.remove(name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; complain where a tensor is missing."""
        if kind is None:
            self._file.truncate(self._end)
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if kind is None and self._left:
            raise RangeError(f"{self.path}: {len(self._left)} tensors were never written, {sorted(self._left)[0]!r}.")
