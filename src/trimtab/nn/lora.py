"""Low-rank adapters on frozen linear layers.

``y = base(x) + (alpha / rank) * B(A(dropout(x)))`` with A drawn at random and B zero, so that an untrained adapter
changes nothing. Several adapters may sit on one base; one is active at a time.

Source: arXiv:2106.09685, section 4; arXiv:2305.14314, section 2; rank-stabilised scaling arXiv:2312.03732.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.core.errors import MissingError, RangeError, did_you_mean
from trimtab.nn.freeze import freeze
from trimtab.nn.linear import QuantizedLinear, linear_names, replace
from trimtab.nn.low_rank import adapted

DEFAULT_ADAPTER = "default"


@dataclass(frozen=True)
class LoraSettings:
    """The shape of an adapter.

    Attributes:
        rank: inner width of the two factors.
        alpha: strength; the update is scaled by alpha / rank.
        dropout: probability of dropping an input of A while training.
        targets: endings of layer names; empty takes every linear layer but the head.
        rank_stabilised: scale by alpha / sqrt(rank) instead.
    """

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = field(default=())
    rank_stabilised: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            RangeError: a value is not allowed.
        """
        if self.rank < 1:
            raise RangeError(f"rank = {self.rank}: allowed is 1 and above; 16 suits most work.")
        if not 0.0 <= self.dropout < 1.0:
            raise RangeError(f"dropout = {self.dropout}: allowed is 0 up to, not including, 1.")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise RangeError(f"alpha = {self.alpha}: allowed is any number above 0; usual is rank or twice the rank.")

    @property
    def scaling(self) -> float:
        """What the product of the factors is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)


class LoraLinear(nn.Module):
    """A frozen linear layer with adapters beside it.

    Attributes:
        base: ``nn.Linear`` or ``QuantizedLinear``, shape (out, in).
        lora_A: adapter name to factor (rank, in), float32.
        lora_B: adapter name to factor (out, rank), float32.
    """

    def __init__(self, base: nn.Linear | QuantizedLinear) -> None:
        """Wrap a layer; it works as before until an adapter is added."""
        super().__init__()
        self.base = base
        self.in_features, self.out_features = base.in_features, base.out_features
        self.lora_A = nn.ParameterDict()
        self.lora_B = nn.ParameterDict()
        self.settings: dict[str, LoraSettings] = {}
        self.active: str | None = None

    @property
    def weight(self) -> Tensor | None:
        """The base's dense weight, for networks that look at its type; None where it is quantized."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        """The base's bias."""
        return self.base.bias

    def add(self, adapter: str, settings: LoraSettings) -> None:
        """Add an adapter that changes nothing yet; A is drawn as PEFT draws it (Kaiming uniform, a = sqrt 5)."""
        device = next(iter([*self.base.parameters(), *self.base.buffers()])).device
        a = torch.empty(settings.rank, self.in_features, device=device)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5))
        self.lora_A[adapter] = nn.Parameter(a)
        self.lora_B[adapter] = nn.Parameter(torch.zeros(self.out_features, settings.rank, device=device))
        self.settings[adapter] = settings
        self.active = adapter

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Apply base and active adapter in the type of ``x``."""
        if self.active is None:
            plain: Tensor = self.base(x)
            return plain
        settings = self.settings[self.active]
        a, b = self.lora_A[self.active], self.lora_B[self.active]
        if self._in_one_node(x, a, settings):
            flat = adapted(x.reshape(-1, self.in_features), self.base, a, b, settings.scaling)
            return flat.view(*x.shape[:-1], self.out_features)
        y: Tensor = self.base(x)
        low = F.linear(F.dropout(x, settings.dropout, self.training).to(a.dtype), a)  # (*batch, rank)
        rows = y.reshape(-1, self.out_features).to(b.dtype)
        flat = torch.addmm(rows, low.reshape(-1, settings.rank), b.t(), alpha=settings.scaling)
        return flat.view(*y.shape).to(y.dtype)

    def _in_one_node(self, x: Tensor, a: Tensor, settings: LoraSettings) -> bool:
        """Tell whether layer and adapter can share one backward node: float32, no dropout, a base that is frozen.

        A compiler sees through the separate operations better than through the node.
        """
        dropping = settings.dropout > 0 and self.training
        frozen = not any(parameter.requires_grad for parameter in self.base.parameters())
        return x.dtype == a.dtype == torch.float32 and frozen and not dropping and not torch.compiler.is_compiling()

    def delta(self, adapter: str) -> Float[Tensor, "outputs inputs"]:
        """What an adapter adds to the weight, float32."""
        product: Tensor = self.lora_B[adapter].detach() @ self.lora_A[adapter].detach()
        return product.float() * self.settings[adapter].scaling


def add_lora(
    net: nn.Module, settings: LoraSettings | None = None, *, adapter: str = DEFAULT_ADAPTER, frozen: bool = True
) -> nn.Module:
    """Put an adapter on the linear layers of a network, in place, and freeze everything else.

    Args:
        net: any network; linear layers may be plain or quantized.
        settings: the adapter's shape; the defaults of ``LoraSettings`` where None.
        adapter: its name, unique on this network.
        frozen: freeze all else; False leaves other parameters as they are.

    Returns:
        The same network, the new adapter active.

    Raises:
        MissingError: a target names no linear layer, or there is none at all.
        RangeError: the name is taken or is no identifier.
    """
    settings = settings or LoraSettings()
    if not adapter.isidentifier():
        raise RangeError(f"adapter name {adapter!r}: allowed are letters, digits and _, not starting with a digit.")
    layers = lora_layers(net)
    if any(adapter in layer.settings for layer in layers.values()):
        raise RangeError(f"adapter {adapter!r} is on this network already. Choose another name or remove it first.")
    if frozen:
        freeze(net)
    for name in _targets(net, settings):
        if name not in layers:
            wrapped = LoraLinear(net.get_submodule(name)).train(net.training)  # type: ignore[arg-type]
            replace(net, name, wrapped)
        net.get_submodule(name).add(adapter, settings)  # type: ignore[operator]
    activate(net, adapter)
    return net


def lora_layers(net: nn.Module) -> dict[str, LoraLinear]:
    """Give the adapted layers by name."""
    return {name: module for name, module in net.named_modules() if isinstance(module, LoraLinear)}


def adapters(net: nn.Module) -> list[str]:
    """Name the adapters on a network, in the order they were added."""
    return list(dict.fromkeys(name for layer in lora_layers(net).values() for name in layer.settings))


def activate(net: nn.Module, adapter: str | None) -> None:
    """Switch to an adapter, or with None to the bare base, without loading anything.

    Only the active adapter learns.

    Raises:
        MissingError: no such adapter is on the network.
    """
    present = adapters(net)
    if adapter is not None and adapter not in present:
        raise MissingError(f"no adapter {adapter!r} on this network. {did_you_mean(adapter, present)}")
    for layer in lora_layers(net).values():
        layer.active = adapter if adapter in layer.settings else None
        for name in layer.settings:
            layer.lora_A[name].requires_grad_(name == adapter)
            layer.lora_B[name].requires_grad_(name == adapter)


@contextmanager
def base_only(net: nn.Module) -> Iterator[nn.Module]:
    """Run the bare base inside a ``with`` block, then switch back."""
    before = {name: layer.active for name, layer in lora_layers(net).items()}
    for layer in lora_layers(net).values():
        layer.active = None
    try:
        yield net
    finally:
        for name, layer in lora_layers(net).items():
            layer.active = before[name]


def remove_lora(net: nn.Module) -> nn.Module:
    """Take every adapter off, leaving the base layers as they were."""
    for name, layer in lora_layers(net).items():
        replace(net, name, layer.base)
    return net


def _targets(net: nn.Module, settings: LoraSettings) -> list[str]:
    """Names of the layers to adapt; a layer that is adapted already counts under its own name."""
    layers = lora_layers(net)
    plain = linear_names(net)
    everything = list(dict.fromkeys([*plain, *layers]))
    if not everything:
        raise MissingError(f"{type(net).__name__} has no linear layer to adapt.")
    if not settings.targets:
        return everything
    chosen = [n for n in everything if any(n == t or n.endswith(f".{t}") for t in settings.targets)]
    for target in settings.targets:
        if not any(n == target or n.endswith(f".{target}") for n in everything):
            endings = {name.rsplit(".", 1)[-1] for name in everything}
            raise MissingError(f"targets: no linear layer ends in {target!r}. {did_you_mean(target, endings)}")
    return chosen
