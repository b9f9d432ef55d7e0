"""Folding an adapter into its base: dequantize, add, and, if asked, quantize again, saying what that cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trimtab.core.errors import MissingError
from trimtab.nn.linear import QuantizedLinear, replace
from trimtab.nn.lora import DEFAULT_ADAPTER, LoraLinear, lora_layers
from trimtab.quant import quantize

PROBE_TOKENS = 64


@dataclass(frozen=True)
class LogitError:
    """How far one network's logits are from another's on the same tokens.

    Attributes:
        rms: root mean square difference.
        relative: the same over the root mean square of the reference's logits.
        largest: largest difference.
        same_choice: share of positions with the same likeliest token.
    """

    rms: float
    relative: float
    largest: float
    same_choice: float


def merge_lora(net: nn.Module, *, adapter: str = DEFAULT_ADAPTER, requantize: bool = False) -> nn.Module:
    """Add an adapter to the dense weights of its layers, in place, and take all adapters off.

    Args:
        net: a network with adapters.
        adapter: which one to fold in.
        requantize: quantize each merged weight again as its base was; otherwise layers become dense.

    Returns:
        The same network; with ``requantize`` its layers are quantized, otherwise all are ``nn.Linear``.

    Raises:
        MissingError: no such adapter.
        NonFiniteError: a merged weight is NaN or infinite.
    """
    layers = lora_layers(net)
    if not any(adapter in layer.settings for layer in layers.values()):
        raise MissingError(f"no adapter {adapter!r} on this network. Load one with load_adapter first.")
    for name, layer in layers.items():
        replace(net, name, _merged(name, layer, adapter, requantize))
    if not requantize:
        make_dense(net)
    return net


def make_dense(net: nn.Module) -> nn.Module:
    """Replace every quantized layer by a plain one, in place."""
    for name, module in list(net.named_modules()):
        if isinstance(module, QuantizedLinear):
            replace(net, name, _dense_linear(module.quantized.dense(torch.float32), module.bias))
    return net


def _merged(name: str, layer: LoraLinear, adapter: str, requantize: bool) -> nn.Module:
    base = layer.base
    dense = dense_weight(base)
    if adapter in layer.settings:
        dense = dense + layer.delta(adapter)
    if requantize and isinstance(base, QuantizedLinear):
        was = base.quantized
        weight = dense.to(was.dtype)
        again = quantize(weight, kind=was.kind, block_size=was.block_size, double=was.double, name=f"{name}.weight")
        return QuantizedLinear(again, base.bias)
    return _dense_linear(dense, base.bias)


def dense_weight(layer: nn.Linear | QuantizedLinear) -> Tensor:
    """Give a layer's weight as it acts, float32, (out, in)."""
    if isinstance(layer, QuantizedLinear):
        return layer.quantized.dense(torch.float32)
    return layer.weight.detach().float()


def _dense_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().float(), requires_grad=False)
    return linear


def probe_ids(vocabulary: int) -> Tensor:
    """Make the tokens on which networks are compared, (1, PROBE_TOKENS): the same for every call."""
    generator = torch.Generator().manual_seed(vocabulary)
    return torch.randint(vocabulary, (1, PROBE_TOKENS), generator=generator)


def logit_error(reference: Tensor, other: Tensor) -> LogitError:
    """Compare logits, (batch, time, vocabulary)."""
    difference = other.float() - reference.float()
    rms = difference.square().mean().sqrt()
    return LogitError(
        rms=rms.item(),
        relative=(rms / reference.float().square().mean().sqrt()).item(),
        largest=difference.abs().max().item(),
        same_choice=(reference.argmax(-1) == other.argmax(-1)).float().mean().item(),
    )
