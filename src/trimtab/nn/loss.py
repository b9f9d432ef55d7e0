"""Cross-entropy over a large vocabulary without ever holding the full matrix of logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_BYTES = 96 << 20
LEAST_CHUNK_ROWS = 16


@dataclass(frozen=True)
class Head:
    """The output projection of a language model and what is done to its logits.

    Attributes:
        weight: (vocabulary, width).
        bias: (vocabulary,) or None.
        scale: logits are multiplied by it first.
        softcap: then squashed to ``softcap * tanh(logits / softcap)``; None leaves them.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def logits(self, hidden: Float[Tensor, "rows width"]) -> Float[Tensor, "rows vocabulary"]:
        """Compute logits in float32."""
        raw = torch.nn.functional.linear(hidden, self.weight, self.bias).float()
        if self.scale != 1.0:
            raw = raw * self.scale
        return raw if self.softcap is None else self.softcap * torch.tanh(raw / self.softcap)


def target_cross_entropy(
    hidden: Float[Tensor, "rows width"], targets: Int[Tensor, " rows"], head: Head, *, chunk_rows: int | None = None
) -> Float[Tensor, ""]:
    """Sum the cross-entropy of each row's target.

    The logits of ``chunk_rows`` rows exist at a time; their gradient is formed at once and folded back into the
    hidden states (and into the head where that learns), so nothing as large as rows x vocabulary is kept.

    Args:
        hidden: last hidden states at the positions that have a target.
        targets: the token to be predicted at each.
        head: projection to the vocabulary.
        chunk_rows: rows of logits held at a time; None takes as many as ``CHUNK_BYTES`` hold.

    Returns:
        The sum of losses, natural logarithm, float32.
    """
    chunk_rows = chunk_rows or rows_of_a_chunk(head.weight.shape[0])
    apply: Any = _ChunkedCrossEntropy.apply
    loss: Tensor = apply(hidden, head.weight, head.bias, targets, head, chunk_rows)
    return loss


def rows_of_a_chunk(vocabulary: int) -> int:
    """Give how many rows of logits are held at a time; more rows make better use of a pass over the head."""
    return max(LEAST_CHUNK_ROWS, CHUNK_BYTES // (4 * max(vocabulary, 1)))


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Forms gradients during the forward pass and scales them during the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, head: Head, chunk_rows: int
    ) -> Tensor:
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros_like(weight) if wants_weight else None
        grad_bias = torch.zeros_like(bias) if wants_bias and bias is not None else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for begin in range(0, hidden.shape[0], chunk_rows):
            rows, chosen = hidden[begin : begin + chunk_rows], targets[begin : begin + chunk_rows, None]
            loss, grad = _loss_and_gradient(head.logits(rows), chosen, head)
            total += loss
            if grad_hidden is grad_weight is grad_bias is None:
                continue
            grad = grad.to(weight.dtype)
            if grad_hidden is not None:
                torch.mm(grad, weight, out=grad_hidden[begin : begin + chunk_rows])
            if grad_weight is not None:
                grad_weight.addmm_(grad.t(), rows)
            if grad_bias is not None:
                grad_bias += grad.sum(dim=0)
        ctx.gradients = (grad_hidden, grad_weight, grad_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("the loss was carried back twice. Compute it again for a second backward pass.")
        scaled = (None if g is None else g.mul_(upstream[0].to(g.dtype)) for g in gradients)
        return (*scaled, None, None, None)


def _loss_and_gradient(logits: Tensor, chosen: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """Sum the loss of a chunk, and turn its logits, in place, into the gradient of the raw projection."""
    slope = None if head.softcap is None else 1.0 - (logits / head.softcap).square()
    logits.sub_(logits.amax(dim=1, keepdim=True))
    picked = logits.gather(1, chosen)
    logits.exp_()
    sums = logits.sum(dim=1, keepdim=True)
    loss = (sums.log() - picked).sum()
    grad = logits.div_(sums)
    grad.scatter_add_(1, chosen, torch.full_like(chosen, -1, dtype=grad.dtype))
    if slope is not None:
        grad.mul_(slope)
    return loss, grad if head.scale == 1.0 else grad.mul_(head.scale)
