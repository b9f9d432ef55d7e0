"""Random state of the whole process: set, taken and put back as plain tensors and numbers (never a pickle)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy
import torch


@dataclass(frozen=True)
class RandomState:
    """Everything that a run draws random numbers from.

    Attributes:
        tensors: torch's generators, one uint8 tensor each ("torch", "cuda:0", ...).
        numbers: Python's and NumPy's generators as JSON values.
    """

    tensors: dict[str, torch.Tensor]
    numbers: dict[str, Any]


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch on every device."""
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def take_state() -> RandomState:
    """Copy the state of every generator."""
    tensors = {"torch": torch.get_rng_state().clone()}
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        tensors[f"cuda:{index}"] = torch.cuda.get_rng_state(index)
    version, internal, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = numpy.random.get_state(legacy=True)
    numbers = {
        "python": [version, list(internal), gauss],
        "numpy": [str(kind), [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
    }
    return RandomState(tensors, numbers)


def put_state(state: RandomState) -> None:
    """Put every generator back to where ``take_state`` found it."""
    version, internal, gauss = state.numbers["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state.numbers["numpy"]
    numpy.random.set_state((kind, numpy.array(keys, dtype=numpy.uint32), position, has_gauss, cached))
    torch.set_rng_state(state.tensors["torch"])
    for name, tensor in state.tensors.items():
        if name.startswith("cuda:"):
            torch.cuda.set_rng_state(tensor, int(name.removeprefix("cuda:")))
