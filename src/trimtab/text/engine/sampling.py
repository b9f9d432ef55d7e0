"""Choosing the next token: a draw depends on its own logits, seed and position only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, cast

import numpy
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from trimtab.text.engine.events import TokenLogprob
from trimtab.text.engine.request import Sampling

# Few enough bits that a share of a float64 sum never rounds up to all of it.
DRAW_BITS: Final = 48
# Chances, in units of the largest, down to which a nucleus is looked for, one after another.
NUCLEUS_BOUNDS: Final = (2.0**-4, 2.0**-8, 2.0**-12, 2.0**-16, 2.0**-20, 0.0)
# Values of which the largest is found together; short enough that many blocks have no large one.
BLOCK: Final = 64
LARGEST: Final = torch.finfo(torch.float32).max
SMALLEST: Final = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Row:
    """One sequence that waits for its next token.

    Attributes:
        sampling: how to choose.
        position: tokens before it, the prompt's included.
        seen: (vocabulary,) which tokens occurred; needed for a repetition penalty only.
        allowed: (vocabulary,) which tokens a constraint allows, at least one; None allows all.
        written: (vocabulary,) how often the answer has each token; needed for the penalties on these only.
    """

    sampling: Sampling
    position: int
    seen: Bool[Tensor, " vocabulary"] | None = None
    allowed: Bool[Tensor, " vocabulary"] | None = None
    written: Float[Tensor, " vocabulary"] | None = None


def usable(logits: Float[Tensor, "rows vocabulary"]) -> list[bool]:
    """Tell for each row whether its largest logit is a finite number, and so none is NaN."""
    return [bool(finite) for finite in torch.isfinite(logits.amax(dim=1)).tolist()]


def choose(logits: Float[Tensor, " vocabulary"], row: Row) -> int:
    """Choose the next token of a sequence.

    Row by row, since one row stays in the processor's cache: a batch of 16 at once takes four times as long.

    Args:
        logits: usable; read, never written.
        row: how to choose.

    Returns:
        A token id. Where several logits are equally large, greedy takes the lowest id.
    """
    adjusted = _adjusted(logits, row)
    if row.sampling.temperature == 0:
        return int(adjusted.cpu().numpy().argmax())
    return _draw(adjusted.cpu().numpy(), row.sampling, row.position)


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


def _adjusted(logits: Tensor, row: Row) -> Tensor:
    """Apply penalties and constraint, in a copy where there are any."""
    penalty = row.sampling.repetition_penalty
    if row.seen is not None and penalty != 1:
        (ids,) = row.seen.nonzero(as_tuple=True)
        before = logits[ids]
        after = torch.where(before > 0, before / penalty, before * penalty).clamp(-LARGEST, LARGEST)
        logits = logits.index_copy(0, ids, after)
    if row.written is not None:
        (ids,) = row.written.nonzero(as_tuple=True)
        less = row.sampling.presence_penalty + row.sampling.frequency_penalty * row.written[ids]
        logits = logits.index_add(0, ids, -less)
    return logits if row.allowed is None else logits.masked_fill(~row.allowed, -torch.inf)


def _draw(logits: NDArray[numpy.float32], sampling: Sampling, position: int) -> int:
    """Draw from what the filters leave, by one number on the running sum of chances in the order of ids."""
    ids: NDArray[numpy.intp] | None = None
    if 0 < sampling.top_k < len(logits):
        ids = _largest(logits, sampling.top_k)
        logits = logits[ids]
    # The largest is 0 first, so that a tiny temperature makes only the others infinitely unlikely.
    with numpy.errstate(over="ignore"):
        scaled = (logits - logits.max()) / numpy.float32(max(sampling.temperature, SMALLEST))
    chances = numpy.exp(scaled)  # in units of the largest
    floor = max(_nucleus(chances, sampling.top_p), sampling.min_p)
    if floor > 0:
        kept = numpy.flatnonzero(chances >= floor)
        ids, chances = kept if ids is None else ids[kept], chances[kept]
    sums = chances.astype(numpy.float64).cumsum()
    at = int(numpy.searchsorted(sums, uniform(sampling.seed, position) * sums[-1], side="right"))
    return at if ids is None else int(ids[at])


def _largest(values: NDArray[numpy.float32], count: int) -> NDArray[numpy.intp]:
    """Give in order the places of the ``count`` largest values, and of all that equal the least of them.

    The largest of each block bound it from below, so that few blocks are left to be looked at. Blocks lie across, since
    their largest are found many times as fast so.
    """
    blocks = len(values) // BLOCK
    able = numpy.arange(blocks)
    if blocks >= 2 * count:
        most = values[: blocks * BLOCK].reshape(BLOCK, blocks).max(axis=0)
        able = numpy.flatnonzero(most >= numpy.partition(most, blocks - count)[blocks - count])
    within = (able + blocks * numpy.arange(BLOCK)[:, None]).ravel()
    ids = numpy.concatenate([within, numpy.arange(blocks * BLOCK, len(values))])
    some = values[ids]
    found = ids[some >= numpy.partition(some, len(some) - count)[len(some) - count]]
    found.sort()
    return cast(NDArray[numpy.intp], found)


def _nucleus(chances: NDArray[numpy.float32], share: float) -> float:
    """Give the smallest chance among the likeliest tokens that make up a share of all.

    Only tokens above some bound are put in order: the highest of a few above which there is so large a share.
    """
    if share >= 1:
        return 0.0
    total = chances.sum(dtype=numpy.float64)
    for bound in NUCLEUS_BOUNDS:
        candidates = chances[chances >= bound]
        if candidates.sum(dtype=numpy.float64) >= share * total:
            break
    candidates = numpy.sort(candidates)[::-1]
    sums = candidates.astype(numpy.float64).cumsum()
    return float(candidates[min(int(numpy.searchsorted(sums, share * total)), len(candidates) - 1)])
