"""safetensors files and folders of them: a guarded reader, and the header that every writer writes.

The library already refuses holes, overlaps and overflowing shapes without running anything. Two gaps are closed on
top: a name that stands twice, and names that could be mistaken for paths.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trimtab.core.errors import FormatError, MissingError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

MAX_HEADER_BYTES: Final = 100_000_000
MAX_OBJECTS: Final = 65_536
METADATA_KEY: Final = "__metadata__"
INDEX_NAME: Final = "model.safetensors.index.json"
SINGLE_NAME: Final = "model.safetensors"

TYPE_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "float64": "F64",
        "float32": "F32",
        "float16": "F16",
        "bfloat16": "BF16",
        "int64": "I64",
        "int32": "I32",
        "int16": "I16",
        "int8": "I8",
        "uint8": "U8",
        "bool": "BOOL",
    }
)
"""How the format calls the types of numpy and torch."""
_PLAIN_NAMES: Final = {short: name for name, short in TYPE_NAMES.items()}
_ALIGNMENT: Final = 8


class TensorFile:
    """A safetensors file whose header has been checked; tensors are read when asked for.

    Tensors are read into memory of their own rather than mapped: a mapped file would stay in the process's resident
    memory long after its tensors were quantized and dropped.

    Attributes:
        shapes: shape of every tensor, by name.
        metadata: the file's own strings.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a file.

        Raises:
            FormatError: it is damaged or hostile.
        """
        self.path = Path(path)
        header = read_header(self.path)
        self.metadata: dict[str, str] = header.pop(METADATA_KEY, {})
        self.shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
        self._entries = header
        with self.path.open("rb") as file:
            self._start = 8 + int.from_bytes(file.read(8), "little")

    def load(self, name: str) -> Tensor:
        """Read one tensor.

        Raises:
            MissingError: there is none of that name.
            FormatError: its element type is unknown, or the file has become shorter.
        """
        import torch

        if name not in self.shapes:
            raise MissingError(f"{self.path}: no tensor {name!r}. {did_you_mean(name, self.shapes)}")
        entry = self._entries[name]
        if entry["dtype"] not in _PLAIN_NAMES:
            raise FormatError(self.path, f"tensor {name!r} has the type {entry['dtype']}, which is not supported")
        dtype = getattr(torch, _PLAIN_NAMES[entry["dtype"]])
        begin, end = entry["data_offsets"]
        raw = np.fromfile(self.path, np.uint8, end - begin, offset=self._start + begin)
        if raw.nbytes != end - begin:
            raise FormatError(self.path, f"tensor {name!r} cannot be read whole: the file has become shorter")
        if not raw.nbytes:
            return torch.empty(self.shapes[name], dtype=dtype)
        return torch.from_numpy(raw).view(dtype).reshape(self.shapes[name])


@dataclass(frozen=True)
class Announced:
    """What a header says about a tensor: a key of ``TYPE_NAMES``, bytes of an element, and the shape."""

    type_name: str
    item_bytes: int
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of the tensor."""
        return math.prod(self.shape) * self.item_bytes


def encode_header(
    tensors: Mapping[str, Announced], *, metadata: Mapping[str, str] | None = None
) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Write the beginning of a file.

    Returns:
        Its bytes, and where behind them each tensor begins and ends: in the order of the file, largest elements first,
        so that all are aligned.
    """
    header: dict[str, Any] = {} if metadata is None else {METADATA_KEY: dict(metadata)}
    places: dict[str, tuple[int, int]] = {}
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].item_bytes, item[0])):
        places[name] = position, position + tensor.nbytes
        shape, offsets = list(tensor.shape), list(places[name])
        header[name] = {"dtype": TYPE_NAMES[tensor.type_name], "shape": shape, "data_offsets": offsets}
        position += tensor.nbytes
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % _ALIGNMENT)
    return len(raw).to_bytes(8, "little") + raw, places


def read_header(path: Path) -> dict[str, Any]:
    """Read and check the header of a safetensors file: name to {"dtype", "shape", "data_offsets"}.

    Raises:
        FormatError: it is damaged or hostile.
    """
    raw = _header_bytes(path)
    _check_layout(path)
    try:
        header = json.loads(raw, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"has an unreadable header ({error})", offset=8) from error
    if not isinstance(header, dict):
        raise FormatError(path, "has a header that is no JSON object", offset=8)
    for name, entry in header.items():
        if name != METADATA_KEY:
            _check_entry(path, name, entry)
    return header


def _header_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():  # a pipe or device would block or never end
            raise FormatError(path, "is no regular file")
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or length > min(MAX_HEADER_BYTES, size - 8):
                raise FormatError(path, f"announces a header of {length} bytes in a file of {size}", offset=0)
            raw = file.read(length)
    except OSError as error:
        raise FormatError(path, f"cannot be read ({error.strerror})") from error
    if (count := raw.count(b"{")) > MAX_OBJECTS:
        raise FormatError(path, f"describes {count} tensors; {MAX_OBJECTS} is the most", offset=8)
    return raw


def _check_layout(path: Path) -> None:
    """Let the library check types, holes, overlaps and sizes; it reads no data."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FormatError(path, f"is no whole safetensors file ({reason:.200})") from error


def checkpoint_files(folder: Path) -> dict[str, Path]:
    """Find the file of every tensor of a model folder, sharded or not.

    Raises:
        MissingError: the folder holds no safetensors weights.
        FormatError: the index is damaged, or names a file outside the folder.
    """
    single, index = folder / SINGLE_NAME, folder / INDEX_NAME
    if single.exists():
        return {name: single for name in read_header(single) if name != METADATA_KEY}
    if not index.is_file():
        raise MissingError(f"{folder}: no {SINGLE_NAME} and no {INDEX_NAME}. Is this a model folder?")
    if index.stat().st_size > MAX_HEADER_BYTES:
        raise FormatError(index, f"is larger than {MAX_HEADER_BYTES} bytes")
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"), object_pairs_hook=_no_twins)["weight_map"]
        entries = {str(name): str(file) for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(index, "holds no readable weight_map") from error
    if not entries:
        raise FormatError(index, "holds an empty weight_map")
    for file in set(entries.values()):
        if Path(file).name != file or not (folder / file).is_file():
            raise FormatError(index, f"names the file {file!r:.200}, which is not in the folder")
    return {name: folder / file for name, file in entries.items()}


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name is there twice")
    return names


def _check_entry(path: Path, name: str, entry: Any) -> None:
    if not name or name.startswith("/") or ".." in name.split("/") or "\x00" in name:
        raise FormatError(path, f"has a tensor with the unsafe name {name!r:.200}")
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise FormatError(path, f"tensor {name!r} has no usable shape")


def names_in_file_order(path: Path) -> Iterator[str]:
    """Give tensor names in the order of their bytes, so that reading walks forward through the file."""
    header = read_header(path)
    header.pop(METADATA_KEY, None)
    yield from sorted(header, key=lambda name: header[name]["data_offsets"][0])
