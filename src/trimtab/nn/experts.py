"""Mixture-of-experts weights that transformers keeps as one 3-D tensor: quantized expert by expert.

Such a layer multiplies by ``weight[expert]``. A quantized stack answers the same indexing with a stand-in that
``torch.nn.functional.linear`` accepts, so the network's own forward runs unchanged on 4-bit experts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimtab.core.errors import RangeError
from trimtab.nn.linear import QuantizedLinear
from trimtab.quant import Kind, quantize


class ExpertWeight:
    """One expert's quantized matrix, (out, in), standing in for a tensor inside ``linear(x, weight)``."""

    def __init__(self, layer: QuantizedLinear) -> None:
        """Stand for the weight of ``layer``."""
        self.layer = layer
        self.shape = torch.Size((layer.out_features, layer.in_features))

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Tensor:
        """Answer ``linear``; refuse everything else rather than fall back to a dense copy."""
        if function is not F.linear or len(args) < 2 or not isinstance(args[1], cls):
            name = getattr(function, "__name__", str(function))
            raise RangeError(f"a quantized expert was used in {name!r}; only linear(x, weight[expert]) is supported.")
        bias = args[2] if len(args) > 2 else (kwargs or {}).get("bias")
        y: Tensor = args[1].layer(args[0])
        return y if bias is None else y + bias


class QuantizedExperts(nn.Module):
    """A stack of quantized matrices, (experts, out, in), indexed like the tensor it replaces.

    Adapters leave it alone, as PEFT's adapters on "all-linear" do.
    """

    holds_experts = True

    def __init__(self, weight: Tensor, *, kind: Kind, block_size: int, double: bool, name: str = "") -> None:
        """Quantize a dense stack, one expert at a time."""
        super().__init__()
        self.shape = weight.shape
        self.dtype = weight.dtype
        self.experts = nn.ModuleList(
            QuantizedLinear(quantize(w, kind=kind, block_size=block_size, double=double, name=f"{name}[{index}]"))
            for index, w in enumerate(weight.detach())
        )

    def __getitem__(self, expert: int | Tensor) -> ExpertWeight:
        """Stand for one expert's weight."""
        layer = self.experts[int(expert)]
        assert isinstance(layer, QuantizedLinear)
        return ExpertWeight(layer)


def expert_stacks(net: nn.Module) -> list[str]:
    """Name the 3-D parameters of a network: fused expert weights."""
    return [name for name, parameter in net.named_parameters() if parameter.dim() == 3]


def quantize_experts(net: nn.Module, *, kind: Kind = "nf4", block_size: int = 64, double: bool = True) -> list[str]:
    """Quantize every fused expert tensor of a network, in place.

    Returns:
        The names of what was quantized; empty for a network without experts.

    Raises:
        RangeError: a 3-D tensor belongs to a layer that keeps its matrices (in, out), which is not supported; it is
            refused by name rather than left in 16 bits.
    """
    names = expert_stacks(net)
    for name in names:
        owner_name, _, leaf = name.rpartition(".")
        owner = net.get_submodule(owner_name)
        if getattr(owner, "is_transposed", False):
            raise RangeError(f"{name}: experts stored as (in, out) cannot be quantized yet. Use method=lora instead.")
        stack = QuantizedExperts(owner._parameters[leaf], kind=kind, block_size=block_size, double=double, name=name)  # type: ignore[arg-type]
        del owner._parameters[leaf]
        setattr(owner, leaf, stack)
    if names and hasattr(net, "set_experts_implementation"):
        net.set_experts_implementation("eager")  # type: ignore[operator]
    return names
