"""Keeps packed examples apart inside a network, and checks on the network itself that it does.

Position numbers that begin again at 0 are enough for most networks of transformers: it builds the masks of every kind
of attention from them, sliding windows among them, as long as no mask and no cache are given. Networks that build
their mask without looking at positions (OPT) need a mask of their own, as numbers to add, since not every attention
takes one of truth values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trimtab.core.errors import UsageError
from trimtab.train.data.batch import Batch

Isolation: TypeAlias = Literal["positions", "mask"]

_TOLERANCE = 0.02
"""Of the largest logit: above the noise of 16-bit arithmetic, far below what another example's words change."""


def isolation(network: torch.nn.Module) -> Isolation:
    """Find how a causal network is made to see one packed example at a time, by trying on four tokens.

    Args:
        network: of transformers; run in evaluation mode without gradients, then left as it was.

    Returns:
        "positions" where a packed batch can be used as it is, "mask" where ``with_mask`` must be applied first.

    Raises:
        UsageError: neither keeps examples apart in this network.
    """
    device = next(network.parameters()).device
    tokens = torch.tensor([[1, 2, 3, 4], [5, 6, 3, 4]], device=device)
    packed = Batch(tokens, tokens, None, torch.tensor([[0, 1, 0, 1]] * 2, device=device), ("", ""))
    dtype = computing_dtype(network)
    with _observed(network):
        if _apart(network, packed):
            return "positions"
        if not _has_sliding_window(network) and _apart(network, with_mask(packed, dtype=dtype)):
            return "mask"
    raise UsageError(
        f"packing = true: {type(network).__name__} cannot keep packed examples apart (it reads every token that came "
        "before). Set packing = false; group_by_length = true saves most of the padding."
    )


def computing_dtype(network: torch.nn.Module) -> torch.dtype:
    """Give the type of a network's unquantized weights, which is that of its attention scores."""
    return next((weight.dtype for weight in network.parameters() if weight.is_floating_point()), torch.float32)


def with_mask(batch: Batch, *, dtype: torch.dtype = torch.float32) -> Batch:
    """Give a packed batch an explicit mask; any other batch is given back as it is.

    Args:
        batch: packed batches are those with position numbers.
        dtype: of the mask, the one that the network computes in.
    """
    if batch.position_ids is None:
        return batch
    return replace(batch, attention_mask=block_mask(batch.position_ids, dtype=dtype))


def block_mask(position_ids: Int[Tensor, "batch time"], *, dtype: torch.dtype) -> Float[Tensor, "batch 1 time time"]:
    """Make the mask that is added to attention scores: 0 within an example and not ahead, else the lowest number."""
    example = (position_ids == 0).cumsum(dim=1)
    same = example[:, None, :, None] == example[:, None, None, :]  # (batch, 1, time, time)
    seen = same & torch.ones(same.shape[-2:], dtype=torch.bool, device=same.device).tril()
    return torch.zeros(same.shape, dtype=dtype, device=same.device).masked_fill(~seen, torch.finfo(dtype).min)


def _apart(network: torch.nn.Module, packed: Batch) -> bool:
    """Tell whether the second example's logits are those it has alone, whatever stands before it."""
    try:
        logits = _logits(network, packed.inputs())[:, 2:]
        alone = _logits(network, {"input_ids": packed.input_ids[:1, 2:], "use_cache": False})
    except (TypeError, ValueError, RuntimeError):
        # A network that takes no positions or no such mask says so in one of these ways.
        return False
    return bool((logits - alone).abs().max() <= _TOLERANCE * alone.abs().max())


def _logits(network: torch.nn.Module, inputs: dict[str, Any]) -> Tensor:
    logits: Tensor = network(**inputs).logits
    return logits.float()


def _has_sliding_window(network: torch.nn.Module) -> bool:
    return getattr(getattr(network, "config", None), "sliding_window", None) is not None


@contextmanager
def _observed(network: torch.nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
