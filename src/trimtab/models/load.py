"""Loading a network: weight by weight from safetensors, quantized on the way where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trimtab.core.errors import FormatError
from trimtab.models.config import CONFIG_NAME, LAYERS, read_model_config
from trimtab.models.llama.description import describe
from trimtab.models.llama.family import missing_code, unfit
from trimtab.models.llama.network import LlamaNetwork
from trimtab.models.names import absent_names, stored_names
from trimtab.models.skeleton import auto_class, network_config, put, skeleton
from trimtab.nn.experts import quantize_experts
from trimtab.nn.linear import QuantizedLinear, linear_names, quantize_linears, replace
from trimtab.quant import Kind, QuantizedWeight, quantize, refuse_non_finite
from trimtab.store.adapter import CONFIG_NAME as ADAPTER_CONFIG
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
    folder: Path,
    *,
    quantization: Quantization | None = None,
    dtype: torch.dtype = torch.float32,
    frame: bool = False,
) -> nn.Module:
    """Load a model folder, frozen and in evaluation mode, on the CPU.

    Tensors are read one at a time, so that the memory needed on top of the finished network is that of one tensor.
    A folder that is quantized already is taken as it is.

    Args:
        folder: in transformers' layout with safetensors weights, plain or quantized by bitsandbytes or by trimtab.
        quantization: how to store the linear weights; None keeps them as they are.
        dtype: type of everything that is not quantized.
        frame: whether a frame will do that holds the weights and is run by the lean decoder alone; what is no plain
            network of the Llama family comes whole all the same.

    Raises:
        MissingError: a file is absent.
        FormatError: a file is damaged, or tensors do not fit the config.
        NonFiniteError: a weight to be quantized is NaN or infinite.
    """
    files = checkpoint_files(folder)
    _refuse_more_layers_than_tensors(folder, len(files))
    stored_here = [name for name in files if not is_companion(name)]
    net = (_fitting_frame(folder, stored_here) if frame else None) or skeleton(folder)
    names = stored_names(net, stored_here)
    if absent_names(net, names):
        return _load_through_transformers(folder, quantization, dtype)
    linears = {f"{name}.weight" for name in linear_names(net)} if quantization else set()
    opened: dict[Path, TensorFile] = {}
    for name, stored in sorted(names.items()):
        tensors = _read(stored, files, opened)
        value = _value(stored, tensors, files[stored], dtype)
        if quantization is not None and name in linears and isinstance(value, Tensor):
            value = _quantize(tensors[stored], quantization, f"{files[stored]}: {name}")
        if isinstance(value, QuantizedWeight):
            _place(net, name, value, path=files[stored])
        else:
            put(net, name, value, path=files[stored])
    _finish(net, folder)
    if quantization is not None:
        quantize_experts(net, kind=quantization.kind, block_size=quantization.block_size, double=quantization.double)
    return net


def _fitting_frame(folder: Path, stored: Iterable[str]) -> LlamaNetwork | None:
    """Build a frame, if the lean decoder can run it and all its tensors are there under their own names."""
    config = describe(folder)
    if config is None or unfit(config) or missing_code():
        return None
    net = LlamaNetwork(config)
    return None if absent_names(net, stored) else net


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
    if not tensor.is_floating_point():
        return tensor
    refuse_non_finite(tensor, f"{path}: {name}")
    return tensor.to(dtype)


def _quantize(tensor: Tensor, quantization: Quantization, name: str) -> QuantizedWeight:
    return quantize(
        tensor, kind=quantization.kind, block_size=quantization.block_size, double=quantization.double, name=name
    )


def _place(net: nn.Module, name: str, weight: QuantizedWeight, *, path: Path) -> None:
    """Put a quantized layer where the plain one stood; its bias, placeholder or loaded, moves along."""
    layer_name = name.removesuffix(".weight")
    linear = net.get_submodule(layer_name)
    if not isinstance(linear, nn.Linear):
        raise FormatError(path, f"{name} is quantized, but the network has a {type(linear).__name__} there")
    expected = list(linear.weight.shape)
    if expected != list(weight.shape):
        raise FormatError(path, f"{name} has shape {list(weight.shape)}, the config says {expected}")
    replace(net, layer_name, QuantizedLinear(weight, linear.bias))


def _finish(net: nn.Module, folder: Path) -> None:
    """Tie what is tied, and insist that nothing is left empty."""
    tie = getattr(net, "tie_weights", None)
    if callable(tie):
        tie()
    for name, tensor in _all_tensors(net):
        if tensor.is_meta:
            raise FormatError(folder, f"has no weight {name}", remedy="Fetch or convert the model again.")
    net.requires_grad_(False)
    net.eval()


def _all_tensors(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from net.named_parameters()
    yield from net.named_buffers()


def _load_through_transformers(folder: Path, quantization: Quantization | None, dtype: torch.dtype) -> nn.Module:
    """Let transformers translate names (fused experts, older checkpoints), then quantize layer by layer."""
    if "quantization_config" in read_model_config(folder):
        raise FormatError(folder, "is quantized, but its tensors do not fit the network of its config")
    if (folder / ADAPTER_CONFIG).exists():
        raise FormatError(folder, f"holds {ADAPTER_CONFIG} beside the weights", remedy="Give it with --adapter.")
    for path in sorted(set(checkpoint_files(folder).values())):
        TensorFile(path)
    config = network_config(folder)
    options = {"dtype": dtype, "local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    try:
        net, report = auto_class(config).from_pretrained(folder, config=config, output_loading_info=True, **options)
    except Exception as error:
        problem = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FormatError(folder, f"cannot be loaded ({problem:.200})") from error
    for key in ("missing_keys", "mismatched_keys"):
        if report.get(key):
            first = sorted(map(str, report[key]))[0]
            raise FormatError(folder, f"has no fitting weight {first}", remedy="Fetch or convert the model again.")
    for name, parameter in net.named_parameters():
        refuse_non_finite(parameter.detach(), f"{folder}: {name}")
    net.requires_grad_(False)
    if quantization is not None:
        kind, block_size, double = quantization.kind, quantization.block_size, quantization.double
        quantize_linears(net, kind=kind, block_size=block_size, double=double)
        quantize_experts(net, kind=kind, block_size=block_size, double=double)
    done: nn.Module = net.eval()
    return done


def _refuse_more_layers_than_tensors(folder: Path, count: int) -> None:
    """Stop before a config is followed that describes far more than the folder holds."""
    config = read_model_config(folder)
    for key in LAYERS & config.keys():
        if (config[key] or 0) > count:
            raise FormatError(folder / CONFIG_NAME, f"has {key} = {config[key]}, but the folder holds {count} tensors")
