"""What a drag leaves alone, what windows change, and how long steps take: parts of ``drag.py``."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trimtab.drag.edit import Edit
from trimtab.drag.engine import Engine, Frame
from trimtab.drag.mask import Mask, ellipse
from trimtab.drag.picture import to_bytes
from trimtab.drag.recipe import Start
from trimtab.drag.session import Session
from trimtab.drag.settings import DragSettings, preset
from trimtab.drag.stored import start_styles
from trimtab.models.stylegan.generator import Generator

TRUNCATION = 0.7
MASK_RADIUS_PX = 140
FACES = 8
TIMED_STEPS = 30
TIMED_SEED = 0
NOSE_PLACE = (0.524, 0.619)
OTHER_PLACES = ((0.324, 0.477), (0.675, 0.475), (0.382, 0.729), (0.621, 0.725))  # eyes, corners of the mouth
TURN = 0.03


def settings_for(generator: Generator, points: int) -> DragSettings:
    """Give the settings that the command takes by default."""
    groups = len(generator.groups)
    return preset(
        "trimtab", resolution=generator.resolution, feature_sizes=generator.feature_sizes, groups=groups, points=points
    )


def drag(engine: Engine) -> Frame:
    """Drag to the end."""
    frame = engine.first()
    while not engine.end(frame):
        frame = engine.advance(frame)
    return frame


def mean_distance(one: Tensor, two: Tensor) -> float:
    """Give the mean distance of points, (points, 2) each."""
    return float(torch.linalg.vector_norm(one - two, dim=1).mean())


def head_turn(generator: Generator, points: int, mask: Mask | None = None) -> Edit:
    """Ask a face to turn a little to its right: by nose, or eyes, nose and mouth, placed as in ``TIMED_SEED``."""
    side = generator.resolution
    places = [(side * x, side * y) for x, y in (NOSE_PLACE, *OTHER_PLACES)][:points]
    targets = tuple((x - TURN * side, y) for x, y in places)
    return Edit(tuple(places), targets, settings_for(generator, points), mask)


@torch.no_grad()
def outside_mask(generator: Generator) -> list[dict[str, Any]]:
    """Measure what changes where a mask forbids it."""
    nose = (NOSE_PLACE[0] * generator.resolution, NOSE_PLACE[1] * generator.resolution)
    mask = ellipse(generator.resolution, nose, (MASK_RADIUS_PX, MASK_RADIUS_PX))
    outside, inside = [], []
    for seed in range(FACES):
        session = Session(generator, start_styles(generator, Start(seed, TRUNCATION)))
        before = to_bytes(session.picture()).float()
        session.begin(head_turn(generator, 1, mask))
        while not session.take.engine.end(session.frame):
            with torch.enable_grad():
                session.advance()
        change = (to_bytes(session.picture()).float() - before).abs().mean(dim=2)
        outside.append(float(change[~mask.movable].mean()))
        inside.append(float(change[mask.movable].mean()))
    return [
        {
            "what": "change of a picture by a masked drag, of 255",
            "faces": len(outside),
            "outside, mean": round(statistics.mean(outside), 3),
            "outside, worst": round(max(outside), 3),
            "inside, mean": round(statistics.mean(inside), 1),
            "goal": "outside <= 4",
        }
    ]


def windows(generator: Generator) -> list[dict[str, Any]]:
    """Drag in windows and on the whole map, each on its own path to its end, and compare the last moments."""
    rows = []
    for points in (1, 5):
        gaps, away_px, steps = [], [], 0
        for seed in range(FACES):
            start = start_styles(generator, Start(seed, TRUNCATION))
            edit = head_turn(generator, points)
            engines = [Engine(generator, start, edit, windowed=windowed) for windowed in (True, False)]
            parts, whole = (drag(engine) for engine in engines)
            gaps.append(styles_gap(engines[0], parts, engines[1], whole))
            away_px.append(mean_distance(parts.points, whole.points))
            steps += parts.number
        rows.append(
            {
                "points": points,
                "faces": FACES,
                "steps": steps,
                "same to the bit": gaps.count(0.0),
                "styles, worst": f"{max(gaps):.0e}",
                "points, px, worst": f"{max(away_px):.0e}",
                "goal": "styles <= 1e-4",
            }
        )
    return rows


def styles_gap(one: Engine, at_one: Frame, two: Engine, at_two: Frame) -> float:
    """Give the largest difference of styles, in units of the largest change since the start."""
    first, second = one.w_plus(at_one.offsets), two.w_plus(at_two.offsets)
    return float((first - second).abs().max() / (second - two.start).abs().max())


def times(generator: Generator) -> list[dict[str, Any]]:
    """Time steps, each with the preview that is shown after it, and whole drags until they arrive."""
    rows = []
    for what, points, windowed, goal in (
        ("a step, whole map", 1, False, "120 ms"),
        ("a step, windows", 1, True, "70 ms"),
        ("a step, windows", 5, True, ""),
    ):
        edit = limited(head_turn(generator, points), max_steps=TIMED_STEPS, stop_px=0.01)
        rows.append({"what": what, "points": points, **timed(generator, edit, windowed=windowed), "goal": goal})
    for points, goal in ((1, "4 s"), (5, "8 s")):
        found = timed(generator, head_turn(generator, points), windowed=True)
        seconds = round(found["ms"] * found["steps"] / 1000, 1)
        rows.append({"what": f"a whole drag: {seconds} s", "points": points, **found, "goal": goal})
    return rows


def limited(edit: Edit, **changes: Any) -> Edit:
    """Give an edit with other settings."""
    return replace(edit, settings=replace(edit.settings, **changes))


def timed(generator: Generator, edit: Edit, *, windowed: bool) -> dict[str, Any]:
    """Give the median time of a step with its preview, and how the drag ended."""
    session = Session(generator, start_styles(generator, Start(TIMED_SEED, TRUNCATION)), windowed=windowed)
    session.begin(edit)
    session.preview()
    wall, cpu = [], []
    while not session.take.engine.end(session.frame):
        began, worked = time.perf_counter(), time.process_time()
        session.advance()
        session.preview()
        wall.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (time.process_time() - worked))
    middle = {"ms": round(statistics.median(wall), 1), "CPU ms": round(statistics.median(cpu), 1)}
    return {**middle, "steps": len(wall), "end": session.take.engine.end(session.frame)}
