"""Swapping a network's norms and gated activations for fused ones, where a trial shows that they are the same.

A network of transformers computes these in many small passes, each of which reads, writes and keeps a whole
activation for the backward pass. A layer is swapped only if its fused form gives the same numbers on random input.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.kernels import ops
from trimtab.nn.linear import replace
from trimtab.nn.recompute import offer

TRIAL_ROWS = 3
TOLERANCE = 1e-5
SILU_CLASSES = ("SiLU", "SiLUActivation")


class FusedRmsNorm(nn.Module):
    """A root-mean-square norm in one pass; keeps its input and one number a row for the backward pass."""

    def __init__(self, weight: nn.Parameter, *, eps: float, offset: float) -> None:
        """Take over a norm's weight, (width,)."""
        super().__init__()
        self.weight = weight
        self.eps, self.offset = eps, offset

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Normalise in float32, give the type of ``x``."""

        def normalise() -> Tensor:
            return ops.rms_norm(x.float(), self.weight.float(), offset=self.offset, eps=self.eps).to(x.dtype)

        return offer(normalise(), normalise)


class GatedMlp(nn.Module):
    """``down(silu(gate(x)) * up(x))``; the activation is computed again in the backward pass, not kept."""

    def __init__(self, gate_proj: nn.Module, up_proj: nn.Module, down_proj: nn.Module) -> None:
        """Take over the three layers of a gated perceptron, under the names they had."""
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = gate_proj, up_proj, down_proj

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Apply the three layers in the type of ``x``."""
        gate, up = self.gate_proj(x), self.up_proj(x)

        def activate() -> Tensor:
            return ops.gated_silu(gate.float(), up.float()).to(x.dtype)

        return cast(Tensor, self.down_proj(offer(activate(), activate)))


def fuse(net: nn.Module, *, on_trial: bool = True) -> nn.Module:
    """Swap what can be swapped, in place; names and weights stay.

    Call it before adapters are added or after, before or after quantization.

    Args:
        net: any network.
        on_trial: compare each layer with its fused form first; False, for networks without values, goes by names.

    Returns:
        The same network.
    """
    for name, module in list(net.named_modules()):
        fused = _fused_norm(module, on_trial) or _fused_mlp(module, on_trial)
        if fused is not None:
            replace(net, name, fused.train(module.training))
    return net


def _fused_norm(module: nn.Module, on_trial: bool) -> nn.Module | None:
    """Give the fused form of a norm: with weight, or with 1 + weight; None where neither is what it computes."""
    weight = module._parameters.get("weight")
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if (
        not type(module).__name__.endswith("RMSNorm")
        or weight is None
        or weight.dim() != 1
        or not isinstance(eps, float)
    ):
        return None
    for offset in (0.0, 1.0):
        fused = FusedRmsNorm(weight, eps=eps, offset=offset)
        if not on_trial or _agree(module, fused, width=weight.numel(), like=weight):
            return fused
    return None


def _fused_mlp(module: nn.Module, on_trial: bool) -> nn.Module | None:
    layers = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    if isinstance(module, GatedMlp) or not all(isinstance(layer, nn.Module) for layer in layers):
        return None
    if set(module._modules) - {"gate_proj", "up_proj", "down_proj", "act_fn", "dropout"} or module._parameters:
        return None
    if type(getattr(module, "act_fn", None)).__name__ not in SILU_CLASSES:
        return None
    gate, up, down = cast("list[Any]", layers)
    fused = GatedMlp(gate, up, down)
    like = next(iter([*gate.parameters(), *gate.buffers()]))
    return fused if not on_trial or _agree(module, fused, width=gate.in_features, like=like) else None


@torch.no_grad()
def _agree(module: nn.Module, fused: nn.Module, *, width: int, like: Tensor) -> bool:
    """Try both on the same random rows, without disturbing any generator."""
    if like.is_meta:
        return False
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, TRIAL_ROWS, width, generator=generator).to(like.device)
    was_training = module.training
    module.eval()
    fused.eval()
    expected, found = module(x), fused(x)
    module.train(was_training)
    scale = expected.abs().max().clamp(min=1e-6)
    return bool(((expected - found).abs().max() <= TOLERANCE * scale).item())
