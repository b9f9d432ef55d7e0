"""Looking for NaN and infinity in a whole network without a copy of any weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trimtab.core.errors import NonFiniteError


def first_non_finite(net: nn.Module) -> str:
    """Name the first stored tensor (weight, quantization scale) that is not finite; empty where all are."""
    stored = ((name, tensor) for name, tensor in net.state_dict().items() if isinstance(tensor, Tensor))
    return next((name for name, tensor in stored if not _is_finite(tensor)), "")


def refuse_non_finite_base(net: nn.Module) -> None:
    """Insist that a network can be trained on.

    Raises:
        NonFiniteError: a weight or scale is NaN or infinite; the message names it.
    """
    if name := first_non_finite(net):
        raise NonFiniteError(
            f"the base model's {name} is not finite, so every loss would be NaN. Fetch or convert the model again."
        )


def _is_finite(tensor: Tensor) -> bool:
    """Tell from the extremes, which are NaN where an element is: one pass, nothing allocated."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))
