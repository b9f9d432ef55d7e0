"""What the fused operators compute, in plain PyTorch: the specification of ``csrc/fused.c``."""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor


def rms_norm(
    x: Float32[Tensor, "*batch cols"], weight: Float32[Tensor, " cols"], offset: float, eps: float
) -> tuple[Float32[Tensor, "*batch cols"], Float32[Tensor, " rows"]]:
    """Give the normalised rows and, for the backward pass, one over each row's root mean square."""
    roots = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps)
    return x * roots * (weight + offset), roots.reshape(-1)


def rms_norm_grad(
    grad: Float32[Tensor, "*batch cols"],
    x: Float32[Tensor, "*batch cols"],
    weight: Float32[Tensor, " cols"],
    roots: Float32[Tensor, " rows"],
    offset: float,
) -> Float32[Tensor, "*batch cols"]:
    """Give the gradient with respect to ``x``."""
    root = roots.view(*x.shape[:-1], 1)
    scaled = grad * (weight + offset)
    pull = (scaled * x).mean(dim=-1, keepdim=True) * root * root
    return root * (scaled - x * pull)


def gated_silu(gate: Float32[Tensor, "*shape"], up: Float32[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """Give ``silu(gate) * up``."""
    return torch.nn.functional.silu(gate) * up


def gated_silu_grad(
    grad: Float32[Tensor, "*shape"], gate: Float32[Tensor, "*shape"], up: Float32[Tensor, "*shape"]
) -> tuple[Float32[Tensor, "*shape"], Float32[Tensor, "*shape"]]:
    """Give the gradients with respect to ``gate`` and ``up``."""
    share = torch.sigmoid(gate)
    swish = gate * share
    return grad * up * (share + swish * (1 - share)), grad * swish
