"""Choosing the next token of several sequences at once; each draw depends on its own row, seed and position only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from trimtab.text.engine.events import TokenLogprob
from trimtab.text.engine.request import Sampling

# Few enough bits that a share of a float64 sum never rounds up to all of it.
DRAW_BITS: Final = 48


@dataclass(frozen=True)
class Row:
    """One sequence that waits for its next token.

    Attributes:
        sampling: how to choose.
        position: tokens before it, the prompt's included.
        seen: (vocabulary,) which tokens occurred; needed for a repetition penalty only.
        allowed: (vocabulary,) which tokens a constraint allows, at least one; None allows all.
    """

    sampling: Sampling
    position: int
    seen: Bool[Tensor, " vocabulary"] | None = None
    allowed: Bool[Tensor, " vocabulary"] | None = None


def usable(logits: Float[Tensor, "rows vocabulary"]) -> list[bool]:
    """Tell for each row whether its largest logit is a finite number, and so none is NaN."""
    return [bool(finite) for finite in torch.isfinite(logits.amax(dim=1)).tolist()]


def choose(logits: Float[Tensor, "rows vocabulary"], rows: Sequence[Row]) -> list[int]:
    """Choose a token for each row.

    Args:
        logits: float32, usable; read, never written.
        rows: as many.

    Returns:
        Token ids. Where several logits are equally large, greedy takes the lowest id.
    """
    adjusted = _adjusted(logits, rows)
    tokens: list[int] = adjusted.argmax(dim=1).tolist()
    drawing = [index for index, row in enumerate(rows) if row.sampling.temperature > 0]
    if drawing:
        part = adjusted if len(drawing) == len(rows) else adjusted[drawing]
        for index, token in zip(drawing, _draw(part, [rows[index] for index in drawing]), strict=True):
            tokens[index] = token
    return tokens


def uniform(seed: int, position: int) -> float:
    """Give a number from 0 up to, not including, 1 that is fixed by a seed and a position."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> (64 - DRAW_BITS)) / float(1 << DRAW_BITS)


def log_probability(logits: Float[Tensor, " vocabulary"], token: int, alternatives: int) -> TokenLogprob:
    """Report how likely a token was, before any temperature or filter.

    Args:
        logits: of one row, as the network gave them.
        token: the one that was chosen.
        alternatives: how many of the likeliest to name.
    """
    logs = logits.log_softmax(dim=0)
    best = logs.topk(min(alternatives, len(logs)))
    named = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return TokenLogprob(token, float(logs[token]), named)


def _adjusted(logits: Tensor, rows: Sequence[Row]) -> Tensor:
    """Apply repetition penalties and constraints, in a copy where there are any."""
    copied = logits
    for index, row in enumerate(rows):
        penalty = row.sampling.repetition_penalty
        if row.allowed is None and (row.seen is None or penalty == 1):
            continue
        copied = logits.clone() if copied is logits else copied
        if row.seen is not None and penalty != 1:
            scaled = torch.where(copied[index] > 0, copied[index] / penalty, copied[index] * penalty)
            copied[index] = torch.where(row.seen, scaled, copied[index])
        if row.allowed is not None:
            copied[index].masked_fill_(~row.allowed, -torch.inf)
    return copied


def _draw(logits: Tensor, rows: Sequence[Row]) -> list[int]:
    """Draw from what the filters leave, by one number a row on the running sum in the order of ids."""
    temperatures = _column([row.sampling.temperature for row in rows], logits)
    # Shifted first, so that a tiny temperature cannot overflow to infinity.
    scaled = (logits - logits.amax(dim=1, keepdim=True)) / temperatures
    scaled = _keep_top_k(scaled, [row.sampling.top_k for row in rows])
    chances = scaled.softmax(dim=1)
    floors = _floors(chances, rows)
    if any(floor > 0 for floor in floors):
        floor = _column(floors, chances)
        chances = torch.where(chances >= floor, chances, 0.0)
    sums = chances.cumsum(dim=1, dtype=torch.float64)  # (rows, vocabulary)
    draws = torch.tensor([uniform(row.sampling.seed, row.position) for row in rows], dtype=torch.float64)
    targets = draws.to(sums.device)[:, None] * sums[:, -1:]
    tokens: list[int] = torch.searchsorted(sums, targets, right=True)[:, 0].tolist()
    return tokens


def _keep_top_k(scaled: Tensor, counts: Sequence[int]) -> Tensor:
    """Leave the ``count`` likeliest of each row, and what is as likely as the last of them; 0 leaves all."""
    size = scaled.shape[1]
    limited = [count if 0 < count < size else size for count in counts]
    most = max((count for count in limited if count < size), default=0)
    if not most:
        return scaled
    best = scaled.topk(most, dim=1).values  # (rows, most)
    floors = [float(best[row, count - 1]) if count < size else -torch.inf for row, count in enumerate(limited)]
    return scaled.masked_fill(scaled < _column(floors, scaled), -torch.inf)


def _floors(chances: Tensor, rows: Sequence[Row]) -> list[float]:
    """Give the least chance that top_p and min_p leave in each row."""
    if all(row.sampling.top_p == 1 and row.sampling.min_p == 0 for row in rows):
        return [0.0] * len(rows)
    best: list[float] = chances.amax(dim=1).tolist()
    table = chances.cpu().numpy()
    return [
        max(_nucleus(table[index], row.sampling.top_p), best[index] * row.sampling.min_p)
        for index, row in enumerate(rows)
    ]


def _nucleus(chances: NDArray[numpy.float32], share: float) -> float:
    """Give the smallest chance among the likeliest tokens that make up a share.

    Tokens below (1 - share) / vocabulary sum to less than what may be left out: only the others are sorted.
    """
    if share >= 1:
        return 0.0
    candidates = numpy.sort(chances[chances >= (1 - share) / len(chances)])[::-1]
    sums = candidates.cumsum(dtype=numpy.float64)
    return float(candidates[min(int(numpy.searchsorted(sums, share)), len(candidates) - 1)])


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]
