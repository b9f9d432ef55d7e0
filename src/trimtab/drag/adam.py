"""Adam as a function: what it remembers goes in and comes out, so that a step can be undone and made again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float32
from torch import Tensor

DECAY_FIRST: Final = 0.9
DECAY_SECOND: Final = 0.999
TINY: Final = 1e-8


@dataclass(frozen=True)
class Moments:
    """Running means of gradients and of their squares, after some steps."""

    first: Float32[Tensor, "groups width"]
    second: Float32[Tensor, "groups width"]
    steps: int

    @classmethod
    def none(cls, like: Tensor) -> Moments:
        """Give the moments before the first step."""
        return cls(torch.zeros_like(like), torch.zeros_like(like), 0)


def adam(
    value: Float32[Tensor, "groups width"],
    grad: Float32[Tensor, "groups width"],
    moments: Moments,
    lr: float,
    *,
    decay_second: float = DECAY_SECOND,
) -> tuple[Float32[Tensor, "groups width"], Moments]:
    """Take one step.

    Source: arXiv:1412.6980, algorithm 1.
    """
    steps = moments.steps + 1
    first = DECAY_FIRST * moments.first + (1 - DECAY_FIRST) * grad
    second = decay_second * moments.second + (1 - decay_second) * grad * grad
    scale = (second / (1 - decay_second**steps)).sqrt() + TINY
    return value - lr / (1 - DECAY_FIRST**steps) * first / scale, Moments(first, second, steps)
