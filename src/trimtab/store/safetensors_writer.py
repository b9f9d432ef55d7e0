"""Writing a safetensors file one tensor at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.core.errors import RangeError
from trimtab.store.safetensors import Announced, encode_header

if TYPE_CHECKING:
    from torch import Tensor


class TensorWriter:
    """Writes a safetensors file whose names, types and shapes are known, one tensor at a time and in any order."""

    def __init__(self, path: Path, sizes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> None:
        """Lay out the file; nothing is on disk until the writer is entered."""
        self.path = path
        tensors = {name: Announced(dtype.name, dtype.itemsize, shape) for name, (dtype, shape) in sizes.items()}
        self._header, self._places = encode_header(tensors, metadata={"format": "pt"})
        self._end = len(self._header) + sum(tensor.nbytes for tensor in tensors.values())
        self._left = set(self._places)

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
        begin, end = self._places[name]
        if tensor.nbytes != end - begin:
            raise RangeError(f"{name}: {tensor.nbytes} bytes were given, {end - begin} were announced.")
        self._file.seek(len(self._header) + begin)
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


def safetensors_pieces(tensors: Mapping[str, Tensor]) -> Iterable[memoryview | bytes]:
    """Give the bytes of a file one tensor at a time, so that they are never in memory twice."""
    import torch

    header, places = encode_header({name: _announced(tensor) for name, tensor in tensors.items()})
    yield header
    for name in places:
        yield tensors[name].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def _announced(tensor: Tensor) -> Announced:
    return Announced(type_name(tensor), tensor.dtype.itemsize, tuple(tensor.shape))


def type_name(tensor: Tensor) -> str:
    """Give the name of a tensor's type, as ``TYPE_NAMES`` has it where the format knows the type."""
    return str(tensor.dtype).removeprefix("torch.")
