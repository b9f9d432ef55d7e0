"""Quantized weights as transformers + bitsandbytes lay them out in a checkpoint, both ways and to the byte.

A 4-bit weight ``X.weight`` is five or six tensors, an 8-bit one three; the names and the JSON inside
``quant_state`` are what other programs look for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor

from trimtab.core.errors import FormatError, RangeError
from trimtab.kernels import ops
from trimtab.quant import Kind, QuantizedWeight, dynamic_map, levels

STATE_PREFIX: Final = "quant_state.bitsandbytes__"
SAVED_KINDS: Final[tuple[Kind, ...]] = ("nf4", "fp4", "int8")
MAX_STATE_BYTES: Final = 4096
FLOAT_TYPES: Final = MappingProxyType({"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16})
_SUFFIXES: Final = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", f".{STATE_PREFIX}nf4")
COMPANIONS: Final = (*_SUFFIXES, f".{STATE_PREFIX}fp4")


def to_tensors(name: str, weight: QuantizedWeight) -> dict[str, Tensor]:
    """Give the checkpoint tensors of one weight.

    Args:
        name: the weight's own name, ending in ".weight".
        weight: nf4, fp4 or int8.

    Raises:
        RangeError: the kind has no checkpoint form.
    """
    if weight.kind not in SAVED_KINDS:
        raise RangeError(f"{weight.kind} weights have no checkpoint form. Allowed: {', '.join(SAVED_KINDS)}.")
    if weight.kind == "int8":
        stem = name.removesuffix(".weight")
        form = torch.tensor(0, dtype=torch.uint8)
        return {name: weight.codes, f"{stem}.SCB": weight.absmax, f"{stem}.weight_format": form}
    tensors = {
        name: weight.codes.reshape(-1, 1),
        f"{name}.absmax": weight.absmax,
        f"{name}.quant_map": levels(weight.kind).clone(),
        f"{name}.{STATE_PREFIX}{weight.kind}": _state_bytes(weight),
    }
    if weight.double:
        assert weight.nested_absmax is not None
        tensors[f"{name}.nested_absmax"] = weight.nested_absmax
        tensors[f"{name}.nested_quant_map"] = dynamic_map(signed=True).clone()
    return tensors


def companions_of(name: str, names: Mapping[str, Any]) -> list[str]:
    """Name the tensors that belong to a quantized weight, itself first; just itself where it is not quantized."""
    stem = name.removesuffix(".weight")
    eight_bit = [n for n in (f"{stem}.SCB", f"{stem}.weight_format") if n in names]
    return [name, *(name + suffix for suffix in COMPANIONS if name + suffix in names), *eight_bit]


def is_companion(name: str) -> bool:
    """Tell whether a tensor belongs to a quantized weight of another name."""
    return name.endswith((*COMPANIONS, ".SCB", ".weight_format"))


def from_tensors(name: str, tensors: Mapping[str, Tensor], *, path: Path, dtype: torch.dtype) -> QuantizedWeight:
    """Read one weight back.

    Args:
        name: the weight's own name.
        tensors: it and its companions, by full name.
        path: the file, for error messages.
        dtype: the original's type, where the file does not say (int8).

    Raises:
        FormatError: the tensors do not fit together.
    """
    stem = name.removesuffix(".weight")
    if f"{stem}.SCB" in tensors:
        return _int8_weight(name, tensors, path, dtype)
    states = [key for key in tensors if key.startswith(f"{name}.{STATE_PREFIX}")]
    if len(states) != 1:
        raise FormatError(path, f"{name} has {len(states)} quantization states, expected one")
    kind = states[0].rpartition("__")[2]
    state = _parse_state(path, name, kind, tensors[states[0]])
    elements = math.prod(state["shape"])
    blocks = math.ceil(elements / state["blocksize"])
    double = "nested_offset" in state
    codes = tensors[name].contiguous().reshape(-1).view(torch.uint8)
    absmax = _expect(path, f"{name}.absmax", tensors, (torch.uint8 if double else torch.float32, blocks))
    _expect_table(path, f"{name}.quant_map", tensors, levels("nf4" if kind == "nf4" else "fp4"))
    if codes.numel() != (elements + 1) // 2:
        raise FormatError(path, f"{name} has {codes.numel()} bytes of codes, expected {(elements + 1) // 2}")
    nested_absmax = nested_offset = None
    if double:
        _expect_table(path, f"{name}.nested_quant_map", tensors, dynamic_map(signed=True))
        count = math.ceil(blocks / ops.NESTED_BLOCK)
        nested_absmax = _expect(path, f"{name}.nested_absmax", tensors, (torch.float32, count))
        nested_offset = torch.tensor(state["nested_offset"], dtype=torch.float32)
    _check_finite(path, name, absmax, nested_absmax, nested_offset)
    return QuantizedWeight(
        codes=codes,
        absmax=absmax,
        shape=tuple(state["shape"]),
        dtype=FLOAT_TYPES[state["dtype"]],
        kind="nf4" if kind == "nf4" else "fp4",
        block_size=state["blocksize"],
        nested_absmax=nested_absmax,
        nested_offset=nested_offset,
    )


def quantization_config(kind: Kind, *, double: bool, compute_dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Write the ``quantization_config`` of a config.json, as transformers does."""
    four = kind != "int8"
    return {
        "_load_in_4bit": four,
        "_load_in_8bit": not four,
        "bnb_4bit_compute_dtype": str(compute_dtype).removeprefix("torch."),
        "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_quant_type": kind if four else "fp4",
        "bnb_4bit_use_double_quant": double and four,
        "llm_int8_enable_fp32_cpu_offload": False,
        "llm_int8_has_fp16_weight": False,
        "llm_int8_skip_modules": None,
        "llm_int8_threshold": 6.0,
        "load_in_4bit": four,
        "load_in_8bit": not four,
        "quant_method": "bitsandbytes",
    }


def stored_kind(config: Any) -> tuple[Kind, bool]:
    """Read from a ``quantization_config`` in which kind weights are stored, and whether their scales are quantized.

    Raises:
        FormatError: neither transformers + bitsandbytes nor ``quantization_config`` wrote it.
    """
    if isinstance(config, dict) and config.get("quant_method", "bitsandbytes") == "bitsandbytes":
        if config.get("load_in_8bit") is True:
            return "int8", False
        kind = config.get("bnb_4bit_quant_type", "fp4")  # transformers' own where nothing is said
        if config.get("load_in_4bit") is True and kind in ("nf4", "fp4"):
            return kind, config.get("bnb_4bit_use_double_quant") is True
    raise FormatError("config.json", f"has the quantization_config {config!r:.80}; readable are those of bitsandbytes")


def _state_bytes(weight: QuantizedWeight) -> Tensor:
    state: dict[str, Any] = {
        "quant_type": weight.kind,
        "blocksize": weight.block_size,
        "dtype": str(weight.dtype).removeprefix("torch."),
        "shape": list(weight.shape),
    }
    if weight.double:
        assert weight.nested_offset is not None
        state |= {
            "nested_blocksize": ops.NESTED_BLOCK,
            "nested_dtype": "float32",
            "nested_offset": weight.nested_offset.item(),
        }
    return torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)


def _parse_state(path: Path, name: str, kind: str, raw: Tensor) -> dict[str, Any]:
    if raw.dtype != torch.uint8 or raw.numel() > MAX_STATE_BYTES:
        raise FormatError(path, f"{name}: the quantization state is no short text")
    try:
        state = json.loads(bytes(raw.numpy()).decode("utf-8"))
        shape, block_size = state["shape"], state["blocksize"]
        usable = (
            state["quant_type"] == kind
            and state["dtype"] in FLOAT_TYPES
            and type(block_size) is int
            and block_size in ops.BLOCK_SIZES
            and isinstance(shape, list)
            and all(type(n) is int and 0 <= n < 2**31 for n in shape)
            and state.get("nested_blocksize", ops.NESTED_BLOCK) == ops.NESTED_BLOCK
            and isinstance(state.get("nested_offset", 0.0), float)
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(path, f"{name}: the quantization state cannot be read ({error})") from error
    if not usable:
        raise FormatError(path, f"{name}: the quantization state holds values that are not allowed ({state})")
    return dict(state)


def _int8_weight(name: str, tensors: Mapping[str, Tensor], path: Path, dtype: torch.dtype) -> QuantizedWeight:
    codes, form = tensors[name], tensors.get(name.removesuffix(".weight") + ".weight_format")
    if codes.dtype != torch.int8 or codes.dim() != 2 or (form is not None and form.numel() and int(form.max()) != 0):
        raise FormatError(path, f"{name} is no row-major 8-bit weight")
    scales = _expect(path, name.removesuffix(".weight") + ".SCB", tensors, (torch.float32, codes.shape[0]))
    _check_finite(path, name, scales)
    return QuantizedWeight(
        codes=codes,
        absmax=scales,
        shape=tuple(codes.shape),
        dtype=dtype,
        kind="int8",
        block_size=codes.shape[1],
        nested_absmax=None,
        nested_offset=None,
    )


def _expect(path: Path, name: str, tensors: Mapping[str, Tensor], want: tuple[torch.dtype, int]) -> Tensor:
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != want[0] or tensor.numel() != want[1]:
        found = "nothing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"
        raise FormatError(path, f"{name}: found {found}, expected {want[1]} elements of {want[0]}")
    return tensor.reshape(-1).contiguous()


def _expect_table(path: Path, name: str, tensors: Mapping[str, Tensor], table: Tensor) -> None:
    found = _expect(path, name, tensors, (torch.float32, table.numel()))
    if not torch.equal(found, table):
        raise FormatError(path, f"{name} is another code book than this project knows")


def _check_finite(path: Path, name: str, *scales: Tensor | None) -> None:
    for scale in scales:
        if scale is not None and scale.is_floating_point() and not torch.isfinite(scale).all():
            raise FormatError(path, f"{name} has a scale that is not finite")
