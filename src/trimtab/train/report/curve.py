"""A line chart as SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 260
LEFT: Final = 56
RIGHT: Final = 16
TOP: Final = 14
BOTTOM: Final = 36
TICKS: Final = 4

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """Points to be joined; ``style`` is a CSS class of the page: "train", "smooth" or "eval"."""

    name: str
    points: Sequence[Point]
    style: str
    dots: bool = False


def chart(lines: Sequence[Line], *, x_label: str, y_label: str) -> str:
    """Draw lines over common axes; a chart without points says so."""
    points = [point for line in lines for point in line.points]
    if not points:
        return '<p class="quiet">Nothing was measured.</p>'
    x_ticks = round_ticks([x for x, _ in points])
    y_ticks = round_ticks([y for _, y in points])
    (x_low, x_high), (y_low, y_high) = (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])

    def place(point: Point) -> tuple[float, float]:
        across = LEFT + (point[0] - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (point[1] - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return across, down

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{y_label} over {x_label}">']
    parts += [_tick_y(value, place((x_low, value))[1]) for value in y_ticks]
    parts += [_tick_x(value, place((value, y_low))[0]) for value in x_ticks]
    parts += [_drawn(line, [place(point) for point in line.points]) for line in lines if line.points]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="label" x="{middle:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{x_label}</text></svg>')
    return "".join(parts)


def smoothed(points: Sequence[Point], *, share: float = 0.2) -> list[Point]:
    """Average each point with those before it, over a fifth of the run."""
    window = max(1, int(len(points) * share))
    means = []
    for index, (x, _) in enumerate(points):
        recent = [y for _, y in points[max(0, index - window + 1) : index + 1]]
        means.append((x, sum(recent) / len(recent)))
    return means


def round_ticks(values: Sequence[float]) -> list[float]:
    """Give about five round numbers, evenly spaced, that enclose the values."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    rough = span / TICKS
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * scale >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _drawn(line: Line, places: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle class="{line.style}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in places)
    return f'<polyline class="{line.style}" points="{path}"/>' + (dots if line.dots else "")


def _tick_y(value: float, y: float) -> str:
    rule = f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{rule}<text class="label" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'


def _tick_x(value: float, x: float) -> str:
    return f'<text class="label" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:.3g}</text>'
