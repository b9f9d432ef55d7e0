"""A network without storage: its real layers, its real adapters, and tensors that only have shapes.

What autograd keeps for the backward pass is counted by running the forward pass on such tensors, so the plan follows
whatever the network's code does instead of a formula for one family.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from trimtab.core.errors import FormatError
from trimtab.kernels import ops
from trimtab.models.attention import use_own_attention
from trimtab.models.language_model import hidden_states
from trimtab.models.load import Quantization
from trimtab.nn.freeze import freeze
from trimtab.nn.fuse import fuse
from trimtab.nn.linear import QuantizedLinear, linear_names, replace
from trimtab.nn.lora import add_lora
from trimtab.nn.recompute import is_recomputed, recomputing
from trimtab.quant import FOUR_BIT_KINDS, QuantizedWeight, dynamic_map, levels
from trimtab.train.prepare import lora_of
from trimtab.train.settings import TrainSettings

LAYER_KEYS = ("num_hidden_layers", "num_layers", "num_decoder_layers", "n_layer")


def config_object(document: Mapping[str, Any]) -> Any:
    """Make transformers' config from a ``config.json`` document.

    Raises:
        FormatError: it describes no network that transformers knows.
    """
    import transformers

    values = {key: value for key, value in document.items() if key not in ("model_type", "quantization_config")}
    try:
        return transformers.AutoConfig.for_model(document["model_type"], **values)
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError("config.json", f"describes no network that transformers knows ({error})") from error


def with_layers(config: Any, layers: int) -> Any:
    """Give a config of fewer layers."""
    fewer = copy.deepcopy(config)
    for key in LAYER_KEYS:
        if isinstance(getattr(fewer, key, None), int):
            setattr(fewer, key, layers)
    if getattr(fewer, "layer_types", None):
        fewer.layer_types = list(fewer.layer_types)[:layers]
    return fewer


def build(config: Any) -> nn.Module:
    """Build a network as it is called: causal or encoder-decoder."""
    import transformers

    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    net: nn.Module = auto.from_config(config, dtype=torch.float32)
    return net


def phantom_weight(shape: tuple[int, int], storage: Quantization) -> QuantizedWeight:
    """Give a quantized weight of the right sizes; its values mean nothing."""
    rows, cols = shape
    kind, block_size, double = storage.kind, storage.block_size, storage.double
    if kind == "int8":
        codes, absmax = torch.zeros(rows, cols, dtype=torch.int8), torch.zeros(rows)
        return QuantizedWeight(codes, absmax, shape, torch.float32, kind, cols, None, None)
    blocks = math.ceil(rows * cols / block_size)
    absmax = torch.zeros(blocks, dtype=torch.uint8 if double else torch.float32)
    nested = torch.zeros(math.ceil(blocks / ops.NESTED_BLOCK)) if double else None
    offset = torch.zeros(()) if double else None
    codes = torch.zeros((rows * cols + 1) // 2, dtype=torch.uint8)
    return QuantizedWeight(codes, absmax, shape, torch.float32, kind, block_size, nested, offset)


def warm_tables() -> None:
    """Compute the code books now: inside a mode without storage they could not be, and they are kept for good."""
    for kind in FOUR_BIT_KINDS:
        levels(kind)
    dynamic_map(signed=True)


def dress(net: nn.Module, storage: Quantization | None, settings: TrainSettings) -> nn.Module:
    """Quantize in shape only, add the adapter, and fuse, as a run does.

    Args:
        net: as built.
        storage: of the linear weights; None keeps them dense.
        settings: of the run.
    """
    if storage is not None:
        for name in linear_names(net):
            linear = cast(nn.Linear, net.get_submodule(name))
            weight = phantom_weight((linear.out_features, linear.in_features), storage)
            replace(net, name, QuantizedLinear(weight, linear.bias))
    freeze(net)
    if settings.method == "full":
        net.requires_grad_(True)
    else:
        add_lora(net, lora_of(settings))
    use_own_attention(net, on_trial=False)
    return fuse(net, on_trial=False).train()


def saved_bytes(net: nn.Module, *, batch: int, time: int, seq2seq: bool) -> int:
    """Count the bytes that autograd keeps between forward and backward pass, parameters and buffers left out."""
    own = {tensor.untyped_storage()._cdata for tensor in _tensors(net)}
    kept: dict[int, tuple[Any, int]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own and not is_recomputed(tensor):
            kept[storage._cdata] = (storage, storage.nbytes())
        return tensor

    ids = torch.zeros(batch, time, dtype=torch.long)
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if seq2seq else {})
    with recomputing(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = hidden_states(net, inputs)
    del output
    return sum(nbytes for _, nbytes in kept.values())


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]


def weight_bytes(net: nn.Module, other_bytes: int) -> dict[str, int]:
    """Sum the bytes of a network's tensors: quantized codes, their scales, everything else, and what learns.

    Args:
        net: with shapes only, or real.
        other_bytes: bytes an element of what is not quantized.
    """
    parts = {"codes": 0, "scales": 0, "other weights": 0, "adapters": 0}
    seen: set[int] = set()
    for module in net.modules():
        if isinstance(module, QuantizedLinear):
            parts["codes"] += module.codes.nbytes
            parts["scales"] += sum(t.nbytes for n, t in module.named_buffers() if n not in ("codes", "bias"))
            seen |= {id(t) for t in module.buffers()}
    for name, tensor in net.named_parameters():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            adapter = ".lora_A." in name or ".lora_B." in name
            parts["adapters" if adapter else "other weights"] += tensor.numel() * (4 if adapter else other_bytes)
    return parts
