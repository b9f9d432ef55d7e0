"""Which part of the block below a part of a feature map is made of.

A block doubles its input and convolves it twice. Where its input was cut, zeros stand for what was cut away, and the
outermost pixels of what it makes are wrong: its halo. Nothing is wrong at a true border of the map, where zeros belong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from jaxtyping import Float
from torch import Tensor

from trimtab.models.stylegan.generator import Window

WINDOWED_FROM = 64
"""Smallest map of which a part is computed rather than the whole: smaller ones cost little more than their halo."""

MakePart: TypeAlias = Callable[[Tensor, int, Window], Tensor]
"""Applies the block of a size to a part of its input; the window says which part of its output that makes."""


def cut(x: Float[Tensor, "*lead rows columns"], window: Window) -> Float[Tensor, "*lead inner_rows inner_columns"]:
    """Take a window out of a map, without copying."""
    return x[..., window.top : window.bottom, window.left : window.right]


def within(inner: Window, outer: Window) -> Window:
    """Give a window's place in a map of which only ``outer`` is there."""
    return Window(inner.top - outer.top, inner.left - outer.left, inner.bottom - outer.top, inner.right - outer.left)


def needed_below(window: Window, size: int, *, halo: int) -> Window:
    """Give the part of a block's input that makes a window of its output right.

    Args:
        window: of the output.
        size: rows and columns of the whole output.
        halo: pixels of the output that are wrong along a cut edge.
    """
    return Window(
        max(window.top - halo, 0) // 2,
        max(window.left - halo, 0) // 2,
        (min(window.bottom + halo, size) + 1) // 2,
        (min(window.right + halo, size) + 1) // 2,
    )


def made_above(window: Window) -> Window:
    """Give the part of the output, its halo included, that a window of the input makes."""
    return Window(2 * window.top, 2 * window.left, 2 * window.bottom, 2 * window.right)


def windows_of(window: Window, size: int, *, halo: int) -> dict[int, Window]:
    """Give the part of each block's map that must be right for a window of the highest one, by the block's size.

    Blocks below ``WINDOWED_FROM`` are absent: they are computed whole.
    """
    parts: dict[int, Window] = {}
    while size >= WINDOWED_FROM:
        parts[size] = window
        window, size = needed_below(window, size, halo=halo), size // 2
    return parts


def make_parts(
    x: Float[Tensor, "batch inputs height width"], parts: Mapping[int, Window], make: MakePart, *, halo: int
) -> Float[Tensor, "batch outputs rows columns"]:
    """Continue above a map of which all is there, making only a part of each block.

    Args:
        x: map of the block below all of them.
        parts: of ``windows_of``, at least one.
        make: applies a block.
        halo: pixels of an output that are wrong along a cut edge.

    Returns:
        The part of the highest block.
    """
    there = Window(0, 0, x.shape[-2], x.shape[-1])
    for size, part in sorted(parts.items()):
        below = needed_below(part, size, halo=halo)
        made = made_above(below)
        x = cut(make(cut(x, within(below, there)), size, made), within(part, made))
        there = part
    return x
