"""GGUF files: a reader that checks every size before it believes it.

The file is mapped, never loaded: tensors are views until they are decoded. Nothing in a file is executed, and no
name in it is ever used as a path.

Source: the GGUF specification, version 3 (ggml-org/ggml, docs/gguf.md).
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from trimtab.core.errors import FormatError
from trimtab.store.ggml import BLOCKS, GgmlType

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
DEFAULT_ALIGNMENT: Final = 32
MAX_TENSORS: Final = 65_536
MAX_KEYS: Final = 65_536
MAX_STRING_BYTES: Final = 16 * 2**20
MAX_ARRAY_ITEMS: Final = 2**26
MAX_OBJECTS: Final = 2**20  # strings and nested arrays in all; each costs many times its bytes
MAX_NESTING: Final = 4
MAX_DIMENSIONS: Final = 4

SCALARS: Final = MappingProxyType(
    {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
)
BOOL_TYPE: Final = 7
STRING_TYPE: Final = 8
ARRAY_TYPE: Final = 9


@dataclass(frozen=True)
class GgufTensor:
    """A tensor as it lies in the file.

    Attributes:
        shape: outermost first, as torch has it (the file stores it innermost first).
        kind: how its elements are coded.
        data: its bytes, (nbytes,) uint8, a view of the mapped file.
    """

    name: str
    shape: tuple[int, ...]
    kind: GgmlType
    data: np.ndarray


@dataclass(frozen=True)
class GgufFile:
    """What a GGUF file says: metadata by key and tensors by name.

    Arrays of numbers are NumPy arrays, views of the mapped file; arrays of strings are lists.
    """

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]


def read_gguf(path: str | Path) -> GgufFile:
    """Open a GGUF file.

    Raises:
        FormatError: the file is damaged or hostile; the message gives the byte where it shows.
    """
    path = Path(path)
    try:
        if not path.is_file():  # a pipe or device would block or never end
            raise FormatError(path, "is no regular file")
        size = path.stat().st_size
        if size < 24:
            raise FormatError(path, f"{size} bytes is too short for a GGUF file (24 at least)")
        with path.open("rb") as file:
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise FormatError(path, f"cannot be read ({error.strerror})") from error
    return _Reader(path, view).read()


class _Reader:
    """Walks through a mapped file; every step is checked against the file's end first."""

    def __init__(self, path: Path, view: mmap.mmap) -> None:
        self.path, self.view, self.position = path, view, 0
        self.objects = 0

    def read(self) -> GgufFile:
        magic = self._take(4)
        if magic != MAGIC:
            raise self._error(f"begins with {magic!r}, not {MAGIC!r}: this is no GGUF file", at=0)
        version = self._scalar("<I")
        if version not in VERSIONS:
            raise self._error(f"is GGUF version {version}; versions {VERSIONS} can be read", at=4)
        tensor_count = self._count(MAX_TENSORS, "tensors")
        key_count = self._count(MAX_KEYS, "metadata keys")
        metadata = self._metadata(key_count)
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if type(alignment) is not int or not 1 <= alignment <= 65_536:
            raise self._error(f"general.alignment is {alignment!r}; 1 to 65536 is allowed")
        headers = [self._tensor_header() for _ in range(tensor_count)]
        start = math.ceil(self.position / alignment) * alignment
        tensors: dict[str, GgufTensor] = {}
        for name, shape, kind, offset in headers:
            if name in tensors:
                raise self._error(f"tensor {name!r} is there twice")
            tensors[name] = self._tensor(name, shape, kind, start + offset)
        return GgufFile(self.path, MappingProxyType(metadata), MappingProxyType(tensors))

    def _metadata(self, count: int) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        for _ in range(count):
            key = self._string()
            if key in metadata:
                raise self._error(f"metadata key {key!r} is there twice")
            metadata[key] = self._value(self._scalar("<I"), depth=0)
        return metadata

    def _tensor_header(self) -> tuple[str, tuple[int, ...], GgmlType, int]:
        name = self._string()
        dimensions = self._scalar("<I")
        if dimensions > MAX_DIMENSIONS:
            raise self._error(f"tensor {name!r} has {dimensions} dimensions; {MAX_DIMENSIONS} is the most")
        shape = tuple(int(self._scalar("<Q")) for _ in range(dimensions))
        code = self._scalar("<I")
        try:
            kind = GgmlType(code)
        except ValueError:
            known = ", ".join(t.name for t in GgmlType)
            raise self._error(f"tensor {name!r} has the unknown type {code}; known are {known}") from None
        return name, shape[::-1], kind, int(self._scalar("<Q"))

    def _tensor(self, name: str, shape: tuple[int, ...], kind: GgmlType, begin: int) -> GgufTensor:
        elements, block = math.prod(shape), BLOCKS[kind]
        if elements % block.elements or (shape and shape[-1] % block.elements):
            raise self._error(f"tensor {name!r} of shape {list(shape)} does not divide into {kind.name} blocks")
        nbytes = elements // block.elements * block.nbytes
        if begin + nbytes > len(self.view):
            problem = f"tensor {name!r} ends at byte {begin + nbytes}, the file at {len(self.view)}"
            raise self._error(f"{problem}: the file is cut short", at=begin)
        data = np.frombuffer(self.view, np.uint8, nbytes, begin) if nbytes else np.empty(0, np.uint8)
        return GgufTensor(name, shape, kind, data)

    def _value(self, code: int, *, depth: int) -> Any:
        if code in SCALARS:
            return self._scalar(SCALARS[code])
        if code == STRING_TYPE:
            return self._string()
        if code != ARRAY_TYPE:
            raise self._error(f"metadata value has the unknown type {code}")
        if depth >= MAX_NESTING:
            raise self._error(f"metadata arrays are nested deeper than {MAX_NESTING}")
        return self._array(depth)

    def _array(self, depth: int) -> Any:
        item = self._scalar("<I")
        count = self._count(MAX_ARRAY_ITEMS, "array items")
        if item in SCALARS:
            return self._numbers(item, count)
        self.objects += count
        if self.objects > MAX_OBJECTS:
            raise self._error(f"metadata holds more than {MAX_OBJECTS} strings and nested arrays")
        self._ensure(count * 8)
        return [self._value(item, depth=depth + 1) for _ in range(count)]

    def _numbers(self, item: int, count: int) -> np.ndarray:
        kind = np.dtype(np.uint8 if item == BOOL_TYPE else SCALARS[item])
        self._ensure(count * kind.itemsize)
        begin = self.position
        self.position += count * kind.itemsize
        return np.frombuffer(self.view, kind, count, begin) if count else np.empty(0, kind)

    def _string(self) -> str:
        length = self._count(MAX_STRING_BYTES, "bytes in a string")
        begin = self.position
        try:
            return self._take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._error("a string is not UTF-8", at=begin) from error

    def _count(self, most: int, what: str) -> int:
        begin = self.position
        count = int(self._scalar("<Q"))
        if count > most:
            raise self._error(f"announces {count} {what}; {most} is the most", at=begin)
        return count

    def _scalar(self, form: str) -> Any:
        (value,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return value

    def _take(self, length: int) -> bytes:
        self._ensure(length)
        begin = self.position
        self.position += length
        return self.view[begin : self.position]

    def _ensure(self, length: int) -> None:
        if length > len(self.view) - self.position:
            raise self._error(f"{length} more bytes are announced, {len(self.view) - self.position} are left")

    def _error(self, problem: str, *, at: int | None = None) -> FormatError:
        offset = self.position if at is None else at
        return FormatError(self.path, problem, offset=offset, remedy="Fetch or export the file again.")
