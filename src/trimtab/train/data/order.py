"""In which order examples are seen, and which share a window: pure arithmetic on lengths."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from trimtab.core.errors import RangeError

GROUP_BATCHES = 50
"""Lengths are sorted within this many batches: similar enough to save padding, mixed enough to stay random."""


def epoch_order(lengths: Sequence[int], batch_size: int, *, grouped: bool, seed: str) -> list[list[int]]:
    """Part the indices of the lengths into the batches of one epoch.

    Args:
        lengths: of each item, in tokens.
        batch_size: items a batch; one batch may be smaller.
        grouped: put items of similar length together, and the batch with the longest item first, so that a lack of
            memory shows at the first step.
        seed: decides the order; a text, because the hash of one is the same in every process.
    """
    random = Random(seed)
    indices = list(range(len(lengths)))
    random.shuffle(indices)
    if grouped:
        size = batch_size * GROUP_BATCHES
        groups = (indices[start : start + size] for start in range(0, len(indices), size))
        indices = [index for group in groups for index in sorted(group, key=lambda n: -lengths[n])]
    batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    if grouped:
        random.shuffle(batches)
        longest = max(range(len(batches)), key=lambda n: max(lengths[index] for index in batches[n]))
        batches[0], batches[longest] = batches[longest], batches[0]
    return batches


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Put items into windows, the longest first, each into the fullest window that still has room for it.

    Args:
        lengths: of each item, in tokens.
        capacity: of a window, in tokens.

    Returns:
        For each window the indices of its items; every index once.

    Raises:
        RangeError: an item is longer than a window.

    Source: best-fit decreasing bin packing, as in arXiv:2107.02027, section 3 and appendix.
    """
    windows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0  # bit r is set where some window has room for exactly r more tokens
    for index in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
        length = lengths[index]
        if length > capacity:
            raise RangeError(f"an example of {length} tokens does not fit a window of {capacity}. Raise max_length.")
        fitting = rooms >> length
        room = (fitting & -fitting).bit_length() - 1 + length if fitting else capacity
        if fitting:
            window = with_room[room].pop()
            rooms &= ~(1 << room) if not with_room[room] else -1
            windows[window].append(index)
        else:
            window = len(windows)
            windows.append([index])
        with_room[room - length].append(window)
        rooms |= 1 << (room - length)
    return windows
