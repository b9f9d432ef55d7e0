"""One optimizer step: several forward and backward passes, clipping, and a stop where a number is no number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trimtab.core.errors import NonFiniteError
from trimtab.models.language_model import LanguageModel
from trimtab.nn.freeze import trainable
from trimtab.nn.recompute import recomputing
from trimtab.optim import PagedAdamW, clip_grad_norm
from trimtab.train.data import Batch
from trimtab.train.finite import first_non_finite


def accumulate_gradients(model: LanguageModel, batches: Sequence[Batch]) -> tuple[float, int]:
    """Run forward and backward over the batches of one step; every target token weighs the same.

    Returns:
        Mean loss and the number of targets.

    Raises:
        NonFiniteError: the loss of a batch is NaN or infinite; the message names its rows.
    """
    targets = sum(batch.trained_tokens for batch in batches)
    total = 0.0
    for batch in batches:
        moved = batch.to(model.device)
        with recomputing():
            loss, _ = model.loss_sum(moved.inputs(), moved.labels)
        value = float(loss.item())
        if not _finite(value):
            rows = ", ".join(batch.places)
            raise NonFiniteError(f"the loss became {value} on the rows {rows}.{_cause(model)}")
        (loss / max(targets, 1)).backward()  # type: ignore[no-untyped-call]
        total += value
    return total / max(targets, 1), targets


def finish_step(model: LanguageModel, optimizer: PagedAdamW, *, lr: float, clip_norm: float) -> float:
    """Clip, check and apply the gradients, then clear them.

    Returns:
        The gradient norm before clipping.

    Raises:
        NonFiniteError: a gradient is NaN or infinite; no weight has been changed.
    """
    learning = trainable(model.net)
    norm = float(clip_grad_norm(learning.values(), clip_norm or float("inf")))
    if not _finite(norm):
        raise NonFiniteError(
            f"the gradient of {_first_non_finite(learning)} is not finite. Lower lr; nothing was changed."
        )
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def _cause(model: LanguageModel) -> str:
    name = first_non_finite(model.net)
    return f" The weight {name} is not finite." if name else " Every weight is finite: lower lr or look at these rows."


def _first_non_finite(learning: dict[str, torch.nn.Parameter]) -> str:
    for name, parameter in learning.items():
        gradient: Tensor | None = parameter.grad
        if gradient is not None and not bool(torch.isfinite(gradient).all()):
            return name
    return "all weights together"


def _finite(value: float) -> bool:
    return value - value == 0.0
