"""Held-out loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trimtab.core.errors import NonFiniteError
from trimtab.models.language_model import LanguageModel
from trimtab.train.data import Example, in_order


@torch.no_grad()
def held_out_loss(model: LanguageModel, examples: Sequence[Example], *, batch_size: int, pad_id: int) -> float:
    """Average the loss over every target token of the examples, natural logarithm.

    Args:
        model: put into evaluation mode while this runs.
        examples: at least one.
        batch_size: examples a forward pass.
        pad_id: fills short rows.

    Raises:
        NonFiniteError: the loss of a batch is NaN or infinite; the message names its rows.
    """
    training = model.net.training
    model.net.eval()
    total, count = 0.0, 0
    by_length = sorted(examples, key=len)
    for batch in in_order(by_length, batch_size=batch_size, pad_id=pad_id):
        moved = batch.to(model.device)
        loss, targets = model.loss_sum(moved.inputs(), moved.labels)
        if not torch.isfinite(loss):
            raise NonFiniteError(f"held-out loss is {loss.item()} on the rows {', '.join(batch.places)}.")
        total, count = total + loss.item(), count + targets
    model.net.train(training)
    return total / max(count, 1)
