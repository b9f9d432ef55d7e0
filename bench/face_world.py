"""Drags on the small face generator, judged by exact landmarks: the renderer is fitted to every edited picture.

Pairs of random faces; one or five landmarks of the first are dragged to where the second has them. Where they really
went is read from the fitted rendering, never from the tracker. Beside the edit: what else moved, how well the fit
explains the picture (its residual), and three baselines on the same pairs: no edit, a random walk in the same styles of
the same length, and the same number of steps with tracking switched off.

A toy world: its figures do not compare with those on photographs.

    python bench/face_world.py [--pairs 60] [--json rows.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from _table import print_table
from trimtab.drag.directions import natural_directions
from trimtab.drag.edit import Edit
from trimtab.drag.engine import Engine
from trimtab.drag.face_world.fit import Fit, fit_faces
from trimtab.drag.face_world.landmarks import LANDMARKS, landmarks
from trimtab.drag.face_world.parameters import NAMES, RANGES, normalised, parameters
from trimtab.drag.settings import DragSettings, preset, read_change
from trimtab.models.stylegan.generator import Generator, latent_of_seed
from trimtab.models.stylegan.load import load_generator
from trimtab.store.resolve import resolve

LEAST_PX = 1.5
RESOLUTION = 64
TRUNCATION = 1.0
AT_ONCE = 16
CHOICES = (
    "tip of the nose",
    "mouth, left corner",
    "mouth, right corner",
    "upper lip",
    "lower lip",
    "chin",
    "jaw, left",
    "jaw, right",
    "left eye, outer corner",
    "left eye, inner corner",
    "right eye, outer corner",
    "right eye, inner corner",
    "left brow, inner end",
    "right brow, inner end",
)
"""Landmarks that every face shows; lids may be closed, and the hair's edge is a line without a mark."""
STILL = ("skin", "iris", "hair_hue", "hair_light", "background")
"""Numbers that no landmark depends on: whatever a drag does to them was not asked for."""
WAYS = ("drag", "no edit", "random walk", "tracking off")


@dataclass(frozen=True)
class Starts:
    """Faces of the generator: their styles, what the renderer finds in them, and another face's landmarks for each."""

    styles: Tensor
    fit: Fit
    wanted: Tensor


@dataclass(frozen=True)
class Drag:
    """One pair: which landmarks of a face were to go where, and the styles of each way."""

    row: int
    chosen: list[int]
    targets: Tensor
    styles: dict[str, Tensor]
    steps: int
    step_ms: float
    end: str


def main(argv: list[str]) -> None:
    """Drag, judge and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--points", type=int, action="append", help="how many are dragged; 1 and 5 unless given")
    parser.add_argument("--set", action="append", default=[], help="a setting of the drag, key=value")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    generator = load_generator(resolve("cartoon"))
    starts = starts_of(generator, given.pairs)
    rows = [row for points in given.points or (1, 5) for row in measure(generator, starts, points, given.set)]
    print_table(rows)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


@torch.no_grad()
def starts_of(generator: Generator, count: int) -> Starts:
    """Make the faces of even seeds, find their landmarks, and draw those of the odd seeds, which are wanted."""
    latents = torch.cat([latent_of_seed(seed, generator.z_width) for seed in range(2 * count)])
    own, others = normalised(latents[::2]), normalised(latents[1::2])
    styles = generator.w_plus(generator.map(own), truncation=TRUNCATION)
    wanted = landmarks(parameters(others), resolution=generator.resolution)
    return Starts(styles, fitted(generator, styles, own), wanted)


def fitted(generator: Generator, styles: Tensor, start: Tensor) -> Fit:
    """Fit the renderer to the generator's pictures, some at a time."""
    pieces = [
        fit_faces(generator.image(some), start=begin)
        for some, begin in zip(styles.split(AT_ONCE), start.split(AT_ONCE), strict=True)
    ]
    return Fit(*(torch.cat([getattr(piece, field.name) for piece in pieces]) for field in fields(Fit)))


def measure(generator: Generator, starts: Starts, points: int, words: Sequence[str]) -> list[dict[str, Any]]:
    """Give a row for the drag and one for each baseline."""
    settings = settings_of(generator, points, words)
    pairs = (pair(starts, row, points) for row in range(len(starts.styles)))
    drags = [drag(generator, starts, found, settings) for found in pairs if found is not None]
    return [row_of(generator, starts, drags, way) for way in WAYS]


def settings_of(generator: Generator, points: int, words: Sequence[str]) -> DragSettings:
    """Give the default settings for this generator, with changes."""
    own = preset(
        "trimtab",
        resolution=generator.resolution,
        feature_sizes=generator.feature_sizes,
        groups=len(generator.groups),
        points=points,
    )
    return replace(own, **dict(read_change(word) for word in words))  # type: ignore[arg-type]


def pair(starts: Starts, row: int, points: int) -> tuple[int, list[int], Tensor] | None:
    """Choose landmarks of a face and take the other's places of them; None where they hardly differ or are outside."""
    order = torch.randperm(len(CHOICES), generator=torch.Generator().manual_seed(row)).tolist()
    chosen = [LANDMARKS.index(CHOICES[index]) for index in order[:points]]
    here, there = starts.fit.landmarks[row, chosen], starts.wanted[row, chosen]
    near = float(torch.linalg.vector_norm(here - there, dim=1).mean()) < LEAST_PX
    inside = bool(((there >= 1) & (there <= RESOLUTION - 2)).all())
    return None if near or not inside else (row, chosen, there)


def drag(generator: Generator, starts: Starts, found: tuple[int, list[int], Tensor], settings: DragSettings) -> Drag:
    """Drag one pair, and go the ways of the baselines."""
    row, chosen, targets = found
    start = starts.styles[row : row + 1]
    handles = starts.fit.landmarks[row, chosen]
    edit = Edit(points_of(handles), points_of(targets), settings)
    engine = Engine(generator, start, edit)
    frame, times = engine.first(), []
    while not engine.end(frame):
        begun = time.perf_counter()
        frame = engine.advance(frame)
        times.append(time.perf_counter() - begun)
    edited = engine.w_plus(frame.offsets)
    styles = {
        "drag": edited,
        "no edit": start,
        "random walk": walked(generator, start, edited, seed=row),
        "tracking off": untracked(Engine(generator, start, edit), frame.number),
    }
    step_ms = 1000 * statistics.median(times) if times else 0.0
    return Drag(row, chosen, targets, styles, frame.number, step_ms, engine.end(frame))


def walked(generator: Generator, start: Tensor, edited: Tensor, *, seed: int) -> Tensor:
    """Go as far as the drag did in each style, in a random one of the directions in which styles vary."""
    noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(seed)) @ natural_directions(generator)
    lengths = torch.linalg.vector_norm(edited - start, dim=2, keepdim=True)
    return start + noise / torch.linalg.vector_norm(noise, dim=2, keepdim=True) * lengths


def untracked(engine: Engine, steps: int) -> Tensor:
    """Pull as often as the drag did, always at the places where the handles were at the start."""
    first = frame = engine.first()
    for _ in range(steps):
        frame = replace(engine.advance(frame), points=first.points, sought=first.sought, lost=first.lost)
    return engine.w_plus(frame.offsets)


def points_of(places: Tensor) -> tuple[tuple[float, float], ...]:
    """Give places as points of an edit."""
    return tuple((float(x), float(y)) for x, y in places)


@torch.no_grad()
def row_of(generator: Generator, starts: Starts, drags: Sequence[Drag], way: str) -> dict[str, Any]:
    """Judge one way by fitting the renderer to what it made of every face."""
    rows = [drag.row for drag in drags]
    begin = starts.fit.latents[rows]
    if way == "no edit":
        fit = Fit(*(getattr(starts.fit, field.name)[rows] for field in fields(Fit)))
    else:
        fit = fitted(generator, torch.cat([drag.styles[way] for drag in drags]), begin)
    before, after, still = [], [], []
    for index, drag in enumerate(drags):
        was = starts.fit.landmarks[drag.row]
        before.append(distance(was[drag.chosen], drag.targets))
        after.append(distance(fit.landmarks[index, drag.chosen], drag.targets))
        others = [number for number in range(len(LANDMARKS)) if number not in drag.chosen]
        still.append(distance(fit.landmarks[index, others], was[others]))
    shares = share_of(fit.values) - share_of(starts.fit.values[rows])
    own = way in ("drag", "tracking off")
    return {
        "points": len(drags[0].chosen),
        "pairs": len(drags),
        "way": way,
        "before, px": round(mean(before), 2),
        "after, px": round(mean(after), 2),
        "ratio": round(mean(after) / mean(before), 3),
        "other landmarks, px": round(mean(still), 2),
        "colours, % of range": round(100 * float(shares.abs().mean()), 1),
        "residual, of 255": round(float(fit.residual.mean()), 1),
        "steps": round(mean([drag.steps for drag in drags]), 1) if own else 0,
        "ms a step": round(statistics.median(drag.step_ms for drag in drags), 1) if way == "drag" else 0,
        "arrived": sum(drag.end == "arrived" for drag in drags) if way == "drag" else 0,
    }


def distance(a: Tensor, b: Tensor) -> float:
    """Give the mean distance of points, in pixels."""
    return float(torch.linalg.vector_norm(a - b, dim=1).mean())


def share_of(values: Tensor) -> Tensor:
    """Give where in their ranges the numbers are that nothing was to move, 0 to 1."""
    columns = [NAMES.index(name) for name in STILL]
    bounds = torch.tensor([RANGES[name] for name in STILL])
    return (values[:, columns] - bounds[:, 0]) / (bounds[:, 1] - bounds[:, 0])


def mean(values: Iterable[float]) -> float:
    """Give the mean of numbers."""
    return statistics.fmean(values)


if __name__ == "__main__":
    main(sys.argv[1:])
