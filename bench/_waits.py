"""How long a person waits: sides that take turns, and the medians of what they took."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import TypeAlias

Wait: TypeAlias = Callable[[], tuple[float, float]]
"""Starts a side; gives the seconds to its first line, and to what is waited for."""


def median_waits(sides: Mapping[str, Wait], rounds: int) -> dict[str, tuple[float, float]]:
    """Give the medians of each side; a first round, which fills the disk cache, is not counted."""
    waits: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for _ in range(rounds + 1):
        for side, wait in sides.items():
            waits[side].append(wait())
    return {
        side: (statistics.median(line for line, _ in pairs[1:]), statistics.median(end for _, end in pairs[1:]))
        for side, pairs in waits.items()
    }
