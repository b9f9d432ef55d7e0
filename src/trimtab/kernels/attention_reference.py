"""What the attention operator computes, in plain PyTorch: the specification of ``csrc/attention.c``."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float32, Int32
from torch import Tensor

Heads = Float32[Tensor, "batch heads queries head"]
KvHeads = Float32[Tensor, "batch kv_heads keys head"]
Starts = Int32[Tensor, "batch queries"]


def visible(
    starts: Starts | None, *, queries: int, keys: int, device: torch.device
) -> Bool[Tensor, "batch 1 queries keys"]:
    """Say which key each query sees: from its start (0 without starts) to as far as it stands from the end."""
    query = torch.arange(queries, device=device)[:, None]
    key = torch.arange(keys, device=device)
    seen = (key <= query + (keys - queries))[None]
    if starts is not None:
        seen = seen & (key >= starts[:, :, None])
    return seen[:, None]


def attention(
    q: Heads, k: KvHeads, v: KvHeads, starts: Starts | None, scale: float
) -> tuple[Float32[Tensor, "batch queries heads head"], Float32[Tensor, "batch heads queries"]]:
    """Give the weighted values; for the backward pass, the logarithm to base 2 of each query's sum of exponentials."""
    scores, seen = _scores(q, k, starts, scale)
    top = scores.amax(dim=-1, keepdim=True)
    top = top.masked_fill(top == -torch.inf, 0.0)
    totals = (top + torch.exp2(scores - top).sum(dim=-1, keepdim=True).log2())[..., 0]
    weights = _weights(scores, seen, totals)
    out = weights @ _shared(v, q.shape[1])
    return out.transpose(1, 2).contiguous(), totals


def attention_grad(
    grad: Float32[Tensor, "batch queries heads head"],
    inputs: tuple[Heads, KvHeads, KvHeads],
    out: Float32[Tensor, "batch queries heads head"],
    totals: Float32[Tensor, "batch heads queries"],
    starts: Starts | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of q, k and v, each (batch, time, heads, head)."""
    q, k, v = inputs
    scores, seen = _scores(q, k, starts, scale)
    weights = _weights(scores, seen, totals)
    upstream = grad.transpose(1, 2)  # (batch, heads, queries, head)
    mean = (grad * out).sum(dim=-1).transpose(1, 2)[..., None]
    blame = weights * (upstream @ _shared(v, q.shape[1]).transpose(-1, -2) - mean)
    dq = blame @ _shared(k, q.shape[1]) * scale
    dk = _gathered(blame.transpose(-1, -2) @ q, k.shape[1]) * scale
    dv = _gathered(weights.transpose(-1, -2) @ upstream, k.shape[1])
    return tuple(x.transpose(1, 2).contiguous() for x in (dq, dk, dv))  # type: ignore[return-value]


def _scores(q: Tensor, k: Tensor, starts: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Give the scores times log2(e), so that weights are powers of two, and what is seen."""
    seen = visible(starts, queries=q.shape[2], keys=k.shape[2], device=q.device)
    scores = q @ _shared(k, q.shape[1]).transpose(-1, -2) * (scale / math.log(2))  # (batch, heads, queries, keys)
    return scores.masked_fill(~seen, -torch.inf), seen


def _weights(scores: Tensor, seen: Tensor, totals: Tensor) -> Tensor:
    """Give zeros where nothing is seen, and never more than 1 however coarse large scores are; NaN stays NaN."""
    return torch.exp2((scores - totals[..., None]).clamp(max=0.0)).masked_fill(~seen, 0.0)


def _shared(x: Tensor, heads: int) -> Tensor:
    """Let neighbouring query heads look at the same keys."""
    return x.repeat_interleave(heads // x.shape[1], dim=1)


def _gathered(x: Tensor, kv_heads: int) -> Tensor:
    """Add up what came back from the query heads that share a key head."""
    batch, heads, *rest = x.shape
    return x.reshape(batch, kv_heads, heads // kv_heads, *rest).sum(dim=2)
