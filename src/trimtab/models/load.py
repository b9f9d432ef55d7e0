"""Loading a network: weight by weight from safetensors, quantized on the way where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trimtab.core.errors import FormatError
from trimtab.models.config import read_model_config
from trimtab.models.skeleton import put, skeleton
from trimtab.nn.experts import quantize_experts
from trimtab.nn.linear import QuantizedLinear, linear_names, quantize_linears, replace
from trimtab.quant import Kind, QuantizedWeight, quantize
from trimtab.store.bitsandbytes import companions_of, from_tensors, is_companion
from trimtab.store.safetensors import TensorFile, checkpoint_files


@dataclass(frozen=True)
class Quantization:
    """How linear weights are to be stored.

    Attributes:
        kind: the code, see ``trimtab.quant``.
        block_size: weights per scale.
        double: quantize the scales too.
    """

    kind: Kind = "nf4"
    block_size: int = 64
    double: bool = True


def load_network(
    folder: Path, *, quantization: Quantization | None = None, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Load a model folder, frozen and in evaluation mode, on the CPU.

    Tensors are read one at a time, so that the memory needed on top of the finished network is that of one tensor.
    A folder that is quantized already is taken as it is.

    Args:
        folder: in transformers' layout with safetensors weights, plain or quantized by bitsandbytes or by trimtab.
        quantization: how to store the linear weights; None keeps them as they are.
        dtype: type of everything that is not quantized.

    Raises:
        MissingError: a file is absent.
        FormatError: a file is damaged, or tensors do not fit the config.
        NonFiniteError: a weight to be quantized is NaN or infinite.
    """
    net = skeleton(folder)
    files = checkpoint_files(folder)
    expected = set(net.state_dict())
    stored = {name for name in files if not is_companion(name)}
    if not _fits(net, stored, expected):
        return _load_through_transformers(folder, quantization, dtype)
    linears = {f"{name}.weight": name for name in linear_names(net)} if quantization else {}
    opened: dict[Path, TensorFile] = {}
    for name in sorted(stored & expected):
        tensors = _read(name, files, opened)
        value = _value(name, tensors, files[name], dtype)
        if isinstance(value, QuantizedWeight):
            _place(net, name, value)
        elif name in linears:
            assert quantization is not None
            raw = tensors[name]
            _place(net, name, _quantize(raw, quantization, name))
        else:
            put(net, name, value)
    _finish(net)
    if quantization is not None:
        quantize_experts(net, kind=quantization.kind, block_size=quantization.block_size, double=quantization.double)
    return net


def _fits(net: nn.Module, stored: set[str], expected: set[str]) -> bool:
    """Tell whether the file's names are the network's own; tied weights may be absent from the file."""
    tied = set(getattr(net, "_tied_weights_keys", None) or ())
    missing = {name for name in expected - stored if name not in tied}
    return not missing or _only_tied(net, missing)


def _only_tied(net: nn.Module, missing: set[str]) -> bool:
    """Tell whether every missing name shares its storage with one that is present once weights are tied."""
    if not getattr(getattr(net, "config", None), "tie_word_embeddings", False):
        return False
    heads = {name for name, module in net.named_modules() if module is _head(net)}
    embeddings = {f"{stem}.embed_tokens.weight" for stem in ("encoder", "decoder", "model.encoder", "model.decoder")}
    return missing <= {f"{name}.weight" for name in heads} | embeddings


def _head(net: nn.Module) -> nn.Module | None:
    getter = getattr(net, "get_output_embeddings", None)
    return getter() if callable(getter) else None


def _read(name: str, files: Mapping[str, Path], opened: dict[Path, TensorFile]) -> dict[str, Tensor]:
    """Read a tensor and what belongs to it, wherever those lie."""
    tensors = {}
    for part in companions_of(name, files):
        path = files[part]
        if path not in opened:
            opened[path] = TensorFile(path)
        tensors[part] = opened[path].load(part)
    return tensors


def _value(name: str, tensors: Mapping[str, Tensor], path: Path, dtype: torch.dtype) -> Tensor | QuantizedWeight:
    if len(tensors) > 1:
        return from_tensors(name, tensors, path=path, dtype=dtype)
    tensor = tensors[name]
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _quantize(tensor: Tensor, quantization: Quantization, name: str) -> QuantizedWeight:
    return quantize(
        tensor, kind=quantization.kind, block_size=quantization.block_size, double=quantization.double, name=name
    )


def _place(net: nn.Module, name: str, weight: QuantizedWeight) -> None:
    """Put a quantized layer where the plain one stood; its bias, placeholder or loaded, moves along."""
    layer_name = name.removesuffix(".weight")
    linear = net.get_submodule(layer_name)
    if not isinstance(linear, nn.Linear):
        raise FormatError(name, f"is quantized, but the network has a {type(linear).__name__} there")
    if tuple(linear.weight.shape) != weight.shape:
        raise FormatError(name, f"has shape {list(weight.shape)}, the config says {list(linear.weight.shape)}")
    replace(net, layer_name, QuantizedLinear(weight, linear.bias))


def _finish(net: nn.Module) -> None:
    """Tie what is tied, and insist that nothing is left empty."""
    tie = getattr(net, "tie_weights", None)
    if callable(tie):
        tie()
    for name, tensor in _all_tensors(net):
        if tensor.is_meta:
            raise FormatError(name, "is in no weight file of the model", remedy="Fetch or convert the model again.")
    net.requires_grad_(False)
    net.eval()


def _all_tensors(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from net.named_parameters()
    yield from net.named_buffers()


def _load_through_transformers(folder: Path, quantization: Quantization | None, dtype: torch.dtype) -> nn.Module:
    """Let transformers translate names (fused experts, older checkpoints), then quantize layer by layer."""
    import transformers

    document = read_model_config(folder)
    if "quantization_config" in document:
        raise FormatError(folder, "is quantized, but its tensors do not fit the network of its config")
    seq2seq = bool(document.get("is_encoder_decoder"))
    auto: Any = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    try:
        net: nn.Module = auto.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True)
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        raise FormatError(folder, f"cannot be loaded ({str(error).splitlines()[0]})") from error
    net.requires_grad_(False)
    if quantization is not None:
        kind, block_size, double = quantization.kind, quantization.block_size, quantization.double
        quantize_linears(net, kind=kind, block_size=block_size, double=double)
        quantize_experts(net, kind=kind, block_size=block_size, double=double)
    return net.eval()
