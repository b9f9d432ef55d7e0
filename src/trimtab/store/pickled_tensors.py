"""Tensors and arrays in pickles, as views of the file: nothing is allocated for what a file only announces.

Source: how torch's ``_rebuild_tensor_v2`` and numpy's ``ndarray.__reduce__`` describe what they hold.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from trimtab.store.pickle_machine import Maker, Refused, Text
from trimtab.store.restricted_pickle import arguments_of

MOST_DIMENSIONS: Final = 8
DECODED_BYTES: Final = 1 << 20
NUMBER_KINDS: Final = "fiub"

STORAGE_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "torch.DoubleStorage": "<f8",
        "torch.FloatStorage": "<f4",
        "torch.HalfStorage": "<f2",
        "torch.LongStorage": "<i8",
        "torch.IntStorage": "<i4",
        "torch.ShortStorage": "<i2",
        "torch.CharStorage": "<i1",
        "torch.ByteStorage": "<u1",
        "torch.BoolStorage": "|b1",
    }
)
"""The element type of each class of storage."""


@dataclass(eq=False)
class Storage:
    """Numbers in a row.

    Attributes:
        dtype: of an element.
        count: number of elements.
        content: their bytes; None until they are found.
    """

    dtype: np.dtype[Any]
    count: int
    content: memoryview | None = None


@dataclass(frozen=True, eq=False)
class PickledTensor:
    """A view of a storage; sizes in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def values(self) -> np.ndarray:
        """Give the numbers, without a copy.

        Raises:
            Refused: the tensor leaves its storage, is larger than it, or its storage was never found.
        """
        if self.storage.content is None:
            raise Refused("a tensor's numbers are not in the file")
        item = self.storage.dtype.itemsize
        reach = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if 0 in self.shape:
            raise Refused("holds a tensor without numbers")
        if math.prod(self.shape) > self.storage.count or self.offset + reach >= self.storage.count:
            raise Refused(f"a tensor of {list(self.shape)} is larger than its storage of {self.storage.count} numbers")
        strides = tuple(step * item for step in self.strides)
        return np.ndarray(self.shape, self.storage.dtype, self.storage.content, self.offset * item, strides)


@dataclass(eq=False)
class NumberType:
    """An element type as numpy's pickles build it: a code of kind and size first, the order of bytes as its state."""

    code: str
    order: str = "<"

    def absorb(self, state: Any) -> None:
        """Take the order of bytes."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise Refused("gives an element type no order of bytes")
        self.order = "<" if state[1] == "=" else state[1]

    def dtype(self) -> np.dtype[Any]:
        """Give the type."""
        return np.dtype(self.order + self.code)


@dataclass(eq=False)
class PickledArray:
    """An array of numpy, which pickles make empty and then give their numbers."""

    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] = ()
    content: memoryview | None = None
    by_columns: bool = False

    def absorb(self, state: Any) -> None:
        """Take shape, type, order and bytes."""
        _, shape, kind, by_columns, content = arguments_of(
            "an array's state", state if isinstance(state, tuple) else (), int, tuple, NumberType, object, memoryview
        )
        self.shape, self.dtype, self.content = _sizes(shape, "shape"), kind.dtype(), content
        self.by_columns = by_columns is True
        if not math.prod(self.shape) * self.dtype.itemsize == len(content) > 0:
            raise Refused(f"gives an array of {list(self.shape)} {len(content)} bytes")

    def values(self) -> np.ndarray:
        """Give the numbers, without a copy.

        Raises:
            Refused: it never got any.
        """
        if self.dtype is None or self.content is None:
            raise Refused("holds an array without numbers")
        return np.ndarray(self.shape, self.dtype, self.content, order="F" if self.by_columns else "C")


def only_named(name: str) -> Maker:
    """Give what stands for a class that files name and never call."""

    def refuse(_: tuple[Any, ...]) -> Any:
        raise Refused(f"calls {name}, which files of tensors name and never call")

    return refuse


def _sizes(numbers: tuple[Any, ...], what: str) -> tuple[int, ...]:
    """Check a shape or strides."""
    good = all(type(n) is int and 0 <= n < 1 << 48 for n in numbers)
    if not good or len(numbers) > MOST_DIMENSIONS:
        raise Refused(f"holds a {what} that is none: at most {MOST_DIMENSIONS} whole numbers from 0 are allowed")
    return numbers


def _tensor(arguments: tuple[Any, ...]) -> PickledTensor:
    storage, offset, shape, strides = arguments_of("a tensor", arguments, Storage, int, tuple, tuple)
    _sizes((offset,), "place")
    if len(_sizes(shape, "shape")) != len(_sizes(strides, "stride")):
        raise Refused(f"gives a tensor of {list(shape)} {len(strides)} strides")
    return PickledTensor(storage, offset, shape, strides)


def _parameter(arguments: tuple[Any, ...]) -> PickledTensor:
    return arguments_of("a parameter", arguments, PickledTensor)[0]  # type: ignore[no-any-return]


def _number_type(arguments: tuple[Any, ...]) -> NumberType:
    (code,) = arguments_of("an element type", arguments, str)
    kind, size = code[:1], code[1:]
    if not kind or kind not in NUMBER_KINDS or size not in ("1", "2", "4", "8") or (kind == "f" and size == "1"):
        raise Refused(f"holds elements of the type {code!r:.20}; allowed are plain numbers of at most 8 bytes")
    if kind == "b" and size != "1":
        raise Refused(f"holds elements of the type {code!r:.20}; truth values have 1 byte")
    return NumberType(code)


def _number(arguments: tuple[Any, ...]) -> float | int | bool:
    kind, content = arguments_of("a number", arguments, NumberType, memoryview)
    if len(content) != kind.dtype().itemsize:
        raise Refused(f"gives a number of {kind.code} {len(content)} bytes")
    return np.frombuffer(content, kind.dtype())[0].item()  # type: ignore[no-any-return]


def _array(_: tuple[Any, ...]) -> PickledArray:
    return PickledArray()


def _encoded(arguments: tuple[Any, ...]) -> memoryview:
    """Turn text back into the bytes that protocol 2 writes as text, a piece at a time."""
    text, coding = arguments_of("bytes written as text", arguments, object, str)
    if coding not in ("latin1", "latin-1") or not isinstance(text, str | Text):
        raise Refused(f"holds bytes written as text in {coding!r:.20}; allowed is 'latin1'")
    if isinstance(text, str):
        return _decoded(memoryview(text.encode("utf-8")))
    if text.meant is None:
        text.meant = _decoded(text.content)
    return text.meant


def _decoded(content: memoryview) -> memoryview:
    decoder, raw = codecs.getincrementaldecoder("utf-8")(), bytearray()
    try:
        for start in range(0, len(content), DECODED_BYTES):
            end = start + DECODED_BYTES
            raw += decoder.decode(content[start:end], final=end >= len(content)).encode("latin-1")
    except UnicodeError as error:
        raise Refused("holds bytes written as text that is none") from error
    return memoryview(raw)


def _shape(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    return _sizes(arguments_of("torch.Size", arguments, tuple)[0], "shape")


TENSOR_MAKERS: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "torch.Size": _shape,
    }
)
"""Names of torch that stand in its files, besides storages."""

ARRAY_MAKERS: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "numpy.dtype": _number_type,
        "numpy.ndarray": only_named("numpy.ndarray"),
        "_codecs.encode": _encoded,
    }
    | {f"numpy.{core}.multiarray.scalar": _number for core in ("core", "_core")}
    | {f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")}
)
"""Names of numpy, whose package has been renamed once."""
