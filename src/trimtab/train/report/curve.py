"""A line chart as SVG text."""

from __future__ import annotations

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
    x_low, x_high = _range([x for x, _ in points])
    y_low, y_high = _range([y for _, y in points])

    def place(point: Point) -> tuple[float, float]:
        across = LEFT + (point[0] - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (point[1] - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return across, down

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{y_label} over {x_label}">']
    parts += [
        _tick_y(y_low + (y_high - y_low) * n / TICKS, place((x_low, y_low + (y_high - y_low) * n / TICKS))[1])
        for n in range(TICKS + 1)
    ]
    parts += [
        _tick_x(x_low + (x_high - x_low) * n / TICKS, place((x_low + (x_high - x_low) * n / TICKS, y_low))[0])
        for n in range(TICKS + 1)
    ]
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


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def _drawn(line: Line, places: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle class="{line.style}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in places)
    return f'<polyline class="{line.style}" points="{path}"/>' + (dots if line.dots else "")


def _tick_y(value: float, y: float) -> str:
    rule = f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{rule}<text class="label" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'


def _tick_x(value: float, x: float) -> str:
    return f'<text class="label" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:.3g}</text>'
