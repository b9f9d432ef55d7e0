"""A frozen linear layer whose weight is stored in 4 or 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.core.errors import MissingError, RangeError
from trimtab.kernels import ops
from trimtab.quant import Kind, QuantizedWeight, dynamic_map, levels, quantize

HEAD_NAMES = ("lm_head", "embed_out", "output_projection")


class QuantizedLinear(nn.Module):
    """``y = x W^T + b`` with W held as codes and scales; gradients reach x, never W.

    The dense weight is made tile by tile inside the kernel and is never kept, neither for the forward nor for the
    backward pass.

    Attributes:
        exact: float32 arithmetic always. False lets the kernels round activations to 15 bits where a single row is
            read without a gradient: three times as fast, with an error far below that of the codes.
    """

    codes: Tensor
    absmax: Tensor
    table: Tensor
    nested_absmax: Tensor | None
    nested_offset: Tensor | None
    nested_table: Tensor | None
    bias: Tensor | None

    def __init__(self, weight: QuantizedWeight, bias: Tensor | None = None) -> None:
        """Take a quantized weight of shape (out, in) and a bias of shape (out,)."""
        super().__init__()
        self.exact = True
        self.out_features, self.in_features = weight.shape
        self.kind: Kind = weight.kind
        self.block_size = weight.block_size
        self.weight_dtype = weight.dtype
        self.register_buffer("codes", weight.codes)
        self.register_buffer("absmax", weight.absmax)
        self.register_buffer("nested_absmax", weight.nested_absmax)
        self.register_buffer("nested_offset", weight.nested_offset)
        self.register_buffer("bias", None if bias is None else bias.detach())
        device = weight.codes.device
        table = torch.empty(0, device=device) if weight.kind == "int8" else levels(weight.kind).to(device)
        self.register_buffer("table", table, persistent=False)
        nested_table = dynamic_map(signed=True).to(device) if weight.double else None
        self.register_buffer("nested_table", nested_table, persistent=False)

    @property
    def weight(self) -> None:
        """None: no dense weight exists. Networks that look at the type of a weight (T5 does) must find none."""
        return None

    @property
    def quantized(self) -> QuantizedWeight:
        """The weight as an immutable value."""
        return QuantizedWeight(
            codes=self.codes,
            absmax=self.absmax,
            shape=(self.out_features, self.in_features),
            dtype=self.weight_dtype,
            kind=self.kind,
            block_size=self.block_size,
            nested_absmax=self.nested_absmax,
            nested_offset=self.nested_offset,
        )

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Apply the layer in the type of ``x``."""
        if self.kind == "int8":
            return ops.linear_8bit(x, self.codes, self.absmax, self.bias)
        return ops.linear_4bit(
            x,
            self.codes,
            self.absmax,
            self.table,
            shape=(self.out_features, self.in_features),
            block_size=self.block_size,
            nested_absmax=self.nested_absmax,
            nested_offset=self.nested_offset,
            nested_table=self.nested_table,
            bias=self.bias,
            exact=self.exact,
        )

    def extra_repr(self) -> str:
        """Describe the layer in a printed network."""
        nested = ", double" if self.nested_absmax is not None else ""
        return f"{self.in_features}, {self.out_features}, {self.kind}, block_size={self.block_size}{nested}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> QuantizedLinear:
        """Follow moves between devices, and ignore changes of type: scales are float32 whatever the network is."""

        def move_only(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(move_only, recurse)  # type: ignore[no-untyped-call]
        return self


def input_grad(
    layer: nn.Linear | QuantizedLinear, grad: Float[Tensor, "*batch outputs"]
) -> Float[Tensor, "*batch inputs"]:
    """Carry a gradient back through a frozen layer, without autograd; the result is the caller's to change."""
    if isinstance(layer, nn.Linear):
        return grad @ layer.weight
    if layer.kind == "int8":
        return ops.linear_8bit_input_grad(grad, layer.codes, layer.absmax)
    return ops.linear_4bit_input_grad(grad, layer.quantized.packed())


def linear_names(net: nn.Module) -> list[str]:
    """List the linear layers that can be quantized or adapted; the output head and fused experts are left out.

    Raises:
        RangeError: the network keeps layers with transposed weights (``Conv1D``), which would be passed over.
    """
    _refuse_transposed(net)
    head = _head(net)
    experts = tuple(f"{name}." for name, module in net.named_modules() if getattr(module, "holds_experts", False))
    return [
        name
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear | QuantizedLinear)
        and module is not head
        and not name.startswith(experts)
        and name.rsplit(".", 1)[-1] not in (*HEAD_NAMES, "base")
    ]


def quantize_linears(
    net: nn.Module,
    *,
    kind: Kind = "nf4",
    block_size: int = 64,
    double: bool = True,
    on_layer: Callable[[str, QuantizedWeight], Any] | None = None,
) -> nn.Module:
    """Replace every linear layer but the head by its quantized form, in place, one layer at a time.

    Args:
        net: any network; its linear weights are dropped as they are replaced.
        kind: the code, see ``trimtab.quant``.
        block_size: weights per scale.
        double: quantize the scales too (4-bit codes only).
        on_layer: called with each layer's name and quantized weight.

    Returns:
        The same network.

    Raises:
        MissingError: the network has no linear layer to quantize.
        NonFiniteError: a weight is NaN or infinite; the message names it.

    Source: arXiv:2305.14314, section 3.
    """
    names = [name for name in linear_names(net) if isinstance(net.get_submodule(name), nn.Linear)]
    if not names:
        raise MissingError(f"{type(net).__name__} has no torch.nn.Linear layer to quantize.")
    for name in names:
        linear = net.get_submodule(name)
        if not isinstance(linear, nn.Linear):
            raise RangeError(f"{name}: expected torch.nn.Linear, found {type(linear).__name__}.")
        weight = quantize(
            linear.weight.detach(), kind=kind, block_size=block_size, double=double, name=f"{name}.weight"
        )
        replace(net, name, QuantizedLinear(weight, linear.bias))
        if on_layer is not None:
            on_layer(name, weight)
    return net


def set_exact(net: nn.Module, exact: bool) -> nn.Module:
    """Choose the arithmetic of every quantized layer, see ``QuantizedLinear.exact``."""
    for module in net.modules():
        if isinstance(module, QuantizedLinear):
            module.exact = exact
    return net


def replace(net: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` where ``name`` stands in ``net``."""
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, module)


def _refuse_transposed(net: nn.Module) -> None:
    transposed = [name for name, module in net.named_modules() if type(module).__name__ == "Conv1D"]
    if transposed:
        raise RangeError(
            f"{type(net).__name__} keeps {len(transposed)} layers, {transposed[0]} first, as Conv1D with transposed "
            "weights, which can be neither quantized nor adapted. Choose a model whose layers are torch.nn.Linear."
        )


def _head(net: nn.Module) -> nn.Module | None:
    getter = getattr(net, "get_output_embeddings", None)
    return getter() if callable(getter) else None
