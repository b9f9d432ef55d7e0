"""Constants of an OpenVINO IR: names and shapes in an XML file, bytes in a file beside it.

Of the XML only the layers of the type "Const" are looked at. No tree is built; document types, and with them entities,
are refused.

Source: OpenVINO's description of its intermediate representation, versions 10 and 11.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.parsers import expat

import numpy as np

from trimtab.core.errors import FormatError

if TYPE_CHECKING:
    from torch import Tensor

MOST_XML_BYTES: Final = 16 << 20
FLOAT: Final = "f32"
FLOAT_BYTES: Final = 4
_NUMBERS: Final = re.compile(r"(?:\d{1,10}(?:\s*,\s*\d{1,10}){0,7})?", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,15}", re.ASCII)


@dataclass(frozen=True)
class Constant:
    """Where a constant lies.

    Attributes:
        name: of its layer.
        element_type: as the format calls it, such as "f32".
        shape: empty for a scalar.
        offset: in the file of bytes.
        size: in bytes.
    """

    name: str
    element_type: str
    shape: tuple[int, ...]
    offset: int
    size: int


class IrFile:
    """The constants of one graph; their bytes are read when asked for.

    Attributes:
        constants: in the order of the graph.
    """

    def __init__(self, xml: Path, raw: Path) -> None:
        """Read the graph's description.

        Args:
            xml: the description.
            raw: the bytes.

        Raises:
            FormatError: it is damaged or hostile.
        """
        self.path, self._raw = xml, raw
        self.constants = tuple(_constants_of(xml))
        self._by_name: dict[str, Constant] = {}
        self._twice: set[str] = set()
        size = raw.stat().st_size
        for constant in self.constants:
            if constant.offset + constant.size > size:
                end = constant.offset + constant.size
                raise FormatError(xml, f"constant {constant.name!r:.100} ends at byte {end}; {raw.name} has {size}")
            if constant.name in self._by_name:
                self._twice.add(constant.name)
            self._by_name[constant.name] = constant

    def load(self, name: str) -> Tensor:
        """Read one constant of type f32.

        Raises:
            FormatError: there is none of that name, or more than one; its type or size is not as expected.
        """
        if name not in self._by_name or name in self._twice:
            count = "more than one constant" if name in self._twice else "no constant"
            raise FormatError(self.path, f"has {count} called {name!r:.100}; expected is one")
        return self.read(self._by_name[name])

    def read(self, constant: Constant) -> Tensor:
        """Read one constant of type f32.

        Raises:
            FormatError: its type is another, or its size does not follow from its shape.
        """
        import torch

        problem = f"constant {constant.name!r:.100}"
        if constant.element_type != FLOAT:
            raise FormatError(self.path, f"{problem} has the type {constant.element_type!r:.20}; expected is {FLOAT}")
        if math.prod(constant.shape) * FLOAT_BYTES != constant.size:
            raise FormatError(self.path, f"{problem} of shape {constant.shape} has {constant.size} bytes")
        values = np.fromfile(self._raw, "<f4", constant.size // FLOAT_BYTES, offset=constant.offset)
        if values.nbytes != constant.size:
            raise FormatError(self._raw, f"{problem} cannot be read whole: the file has become shorter")
        return torch.from_numpy(values.astype(np.float32, copy=False)).reshape(constant.shape)

    def of_shape(self, *shape: int) -> list[Constant]:
        """Give the constants of type f32 of a shape, in the order of the graph."""
        return [c for c in self.constants if c.shape == shape and c.element_type == FLOAT]


def _constants_of(xml: Path) -> Iterator[Constant]:
    try:
        if (size := xml.stat().st_size) > MOST_XML_BYTES:
            raise FormatError(xml, f"has {size} bytes; {MOST_XML_BYTES} are the most")
        content = xml.read_bytes()
    except OSError as error:
        raise FormatError(xml, f"cannot be read ({error.strerror})") from error
    for name, data in _read_layers(xml, content):
        yield _constant(xml, name, data)


def _read_layers(xml: Path, content: bytes) -> list[tuple[str, dict[str, str]]]:
    """Give name and data of each constant layer."""
    found: list[tuple[str, dict[str, str]]] = []
    path: list[str] = []
    layer: dict[str, str] = {}

    def begin(tag: str, attributes: dict[str, str]) -> None:
        path.append(tag)
        if path == ["net", "layers", "layer"]:
            layer.clear()
            layer.update(attributes)
        elif path == ["net", "layers", "layer", "data"] and layer.get("type") == "Const":
            found.append((layer.get("name", ""), attributes))

    def end(_: str) -> None:
        path.pop()

    def refuse(*_: object) -> None:
        raise FormatError(xml, "declares a document type or an entity, which no such file needs")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise FormatError(xml, f"is no XML ({error!s:.80})") from error
    return found


def _constant(xml: Path, name: str, data: dict[str, str]) -> Constant:
    shape, numbers = data.get("shape", ""), [data.get("offset", ""), data.get("size", "")]
    if not _NUMBERS.fullmatch(shape.strip()) or not all(_NUMBER.fullmatch(n) for n in numbers):
        raise FormatError(xml, f"constant {name!r:.100} has the shape {shape!r:.40} and the place {numbers!r:.80}")
    sizes = tuple(int(side) for side in shape.split(",")) if shape.strip() else ()
    return Constant(name, data.get("element_type", ""), sizes, int(numbers[0]), int(numbers[1]))
