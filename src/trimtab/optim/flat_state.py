"""Optimizer state as flat named tensors, the form in which checkpoints hold it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trimtab.core.errors import CheckpointError


def flatten(names: Sequence[str], steps: Sequence[int], states: dict[int, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Name the state: ``<parameter>.step``, and ``<parameter>.<part>`` where a parameter was stepped.

    Args:
        names: of the parameters, by index.
        steps: step count of each.
        states: index to the parts of a parameter's state.
    """
    flat = {f"{name}.step": torch.tensor(step) for name, step in zip(names, steps, strict=True)}
    for index, parts in states.items():
        flat |= {f"{names[index]}.{part}": tensor for part, tensor in parts.items()}
    return flat


def unflatten(names: Sequence[str], tensors: dict[str, Tensor]) -> tuple[list[int], dict[int, dict[str, Tensor]]]:
    """Give back the step counts and the parts, by index; whether the parts fit is for others to say.

    Raises:
        CheckpointError: a step count is missing, or there is state of another parameter.
    """
    missing = [name for name in names if f"{name}.step" not in tensors]
    if missing:
        raise CheckpointError(
            f"The optimizer state lacks {missing[0]}.step ({len(missing)} parameters in all). "
            "Load the state of the same parameters, or start a new run."
        )
    places = {name: index for index, name in enumerate(names)}
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, part = key.rpartition(".")
        if name not in places:
            raise CheckpointError(f"The optimizer state holds {key}, which is no parameter here.")
        if part != "step":
            states.setdefault(places[name], {})[part] = tensor
    return [int(tensors[f"{name}.step"]) for name in names], states
