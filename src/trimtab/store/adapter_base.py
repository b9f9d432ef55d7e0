"""What an adapter was trained on: the base's name and hash, and how its weights were stored."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

from torch import nn

from trimtab.core.errors import FormatError
from trimtab.nn.linear import QuantizedLinear, linear_names
from trimtab.nn.lora import lora_layers
from trimtab.quant import KINDS, Kind
from trimtab.store.documents import read_object

BASE_NAME: Final = "trimtab_base.json"
MAX_BASE_BYTES: Final = 1 << 16
REMEDY: Final = "Remove the file to use the base as it is stored."


@dataclass(frozen=True)
class WeightForm:
    """How the linear weights of a network are stored.

    Attributes:
        kind: the code, see ``trimtab.quant``.
        block_size: weights per scale; 0 where a row has one scale (int8).
        double: whether the scales are quantized too.
    """

    kind: Kind
    block_size: int = 0
    double: bool = False

    def __str__(self) -> str:
        """Say it in words: "nf4 + double, blocks of 64"."""
        blocks = f", blocks of {self.block_size}" if self.block_size else ""
        return f"{self.kind}{' + double' if self.double else ''}{blocks}"


@dataclass(frozen=True)
class AdapterBase:
    """The network under an adapter.

    Attributes:
        model: what the base was called.
        sha256: of its files, empty where unknown.
        form: how its linear weights were stored; None where dense, or not all in one way.
    """

    model: str
    sha256: str
    form: WeightForm | None


def form_of(net: nn.Module) -> WeightForm | None:
    """Find out how the linear weights below the head are stored; None where dense, or not all in one way."""
    layers = [layer.base for layer in lora_layers(net).values()]
    layers += [cast("nn.Linear | QuantizedLinear", net.get_submodule(name)) for name in linear_names(net)]
    forms = {_form(layer) for layer in layers}
    return forms.pop() if len(forms) == 1 else None


def base_document(base: AdapterBase) -> bytes:
    """Write the record as a JSON document."""
    return json.dumps(asdict(base), indent=2).encode()


def read_base(folder: Path) -> AdapterBase | None:
    """Read the record of an adapter folder; None where another program wrote the folder.

    Raises:
        FormatError: the record is damaged.
    """
    path = folder / BASE_NAME
    if not path.is_file():
        return None
    document = read_object(path, most_bytes=MAX_BASE_BYTES, remedy=REMEDY)
    try:
        return AdapterBase(str(document["model"]), str(document["sha256"]), _read_form(document["form"]))
    except (ValueError, TypeError, KeyError) as error:
        problem = f"is no record of an adapter's base ({str(error)!r:.80})"
        raise FormatError(path, problem, remedy=REMEDY) from error


def _form(layer: nn.Linear | QuantizedLinear) -> WeightForm | None:
    if not isinstance(layer, QuantizedLinear):
        return None
    if layer.kind == "int8":
        return WeightForm("int8")
    return WeightForm(layer.kind, layer.block_size, layer.quantized.double)


def _read_form(document: Any) -> WeightForm | None:
    if document is None:
        return None
    kind, block_size, double = document["kind"], document["block_size"], document["double"]
    if kind not in KINDS or type(block_size) is not int or type(double) is not bool:
        raise ValueError(f"form {document}")
    return WeightForm(cast(Kind, kind), block_size, double)
