"""Dragging on the face generator, judged by landmarks that a detector of its own finds in the pictures.

Pairs of faces are drawn by seed. Landmarks of the first are dragged to those of the second; then landmarks are found
anew in the edited picture, and their mean distance to the wanted places is compared with what it was: what the tracker
believes does not count. Beside it, on the same pairs: tracking off (the handle is assumed to advance evenly, in as many
steps), a random walk of as many steps of Adam on random gradients, and no edit. Only pairs count whose landmarks are at
least 15 px apart, since the detector itself errs by 1 to 2.5 px.

Then: what changes outside a mask; the path of the windowed engine against the whole one; and times.

    python bench/drag.py [--pairs 100] [--points 1 5 68] [--parts landmarks mask windows times] [--work FOLDER]

What is in the work folder is not computed again, so that a run that was stopped goes on: of the same generator, the
same settings, and the same ``VERSION`` of what is measured. Needs the detector's environment (`make .venv/.landmarks`)
and `trimtab models add face`.

Source: the protocol of arXiv:2305.10973, section 4.2, on faces that the generator makes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from _drag_parts import TRUNCATION, drag, mean_distance, outside_mask, settings_for, times, windows
from _landmarks import MARKS, Landmarks
from _table import print_table
from trimtab.drag.adam import adam
from trimtab.drag.edit import Edit
from trimtab.drag.engine import Engine, Frame
from trimtab.drag.motion import step_vectors
from trimtab.drag.picture import write_png
from trimtab.drag.recipe import Start
from trimtab.drag.stored import start_styles
from trimtab.models.stylegan.generator import Generator
from trimtab.models.stylegan.load import load_generator
from trimtab.nn.freeze import fingerprint
from trimtab.store.resolve import resolve

PARTS = ("landmarks", "mask", "windows", "times")
LEAST_PX = 15.0
VERSION = 2
"""Of what is measured: raise it with any change of the engine or of this protocol that changes results."""
PAPER = {1: 0.19, 5: 0.27, 68: 0.30}
GOALS = {1: "<= 0.30", 5: "<= 0.40", 68: "<= 0.25"}
SIDES = ("tracked", "tracking off", "random walk")


def main(argv: list[str]) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--points", type=int, nargs="*", default=[1, 5, 68], choices=list(MARKS))
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--generator", default="face")
    parser.add_argument("--work", type=Path, help="keep pictures and results here")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    generator = load_generator(resolve(given.generator))
    tables: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        if "landmarks" in given.parts:
            with Landmarks() as landmarks:
                faces = Faces(generator, landmarks, work)
                tables["landmarks"] = [judge(faces, points, given.pairs) for points in given.points]
            print_table(tables["landmarks"])
    for part, measure in (("mask", outside_mask), ("windows", windows), ("times", times)):
        if part in given.parts:
            tables[part] = measure(generator)
            print_table(tables[part])
    if given.json:
        given.json.write_text(json.dumps([row for rows in tables.values() for row in rows], indent=1))


class Faces:
    """Pictures by seed, with the landmarks that were found in them."""

    def __init__(self, generator: Generator, landmarks: Landmarks, work: Path) -> None:
        self.generator, self.landmarks, self.work = generator, landmarks, work
        self.version = f"{VERSION}-{fingerprint(generator)}"

    def known(self, what: str, settings: Any = None) -> Path:
        """Give the file of a result; what it depends on is in its name."""
        about = json.dumps([self.version, TRUNCATION, settings])
        return self.work / f"{what}-{hashlib.sha256(about.encode()).hexdigest()[:12]}.json"

    def styles(self, seed: int) -> Tensor:
        """Give the styles of a seed."""
        return start_styles(self.generator, Start(seed, TRUNCATION))

    def marks(self, seed: int) -> Tensor | None:
        """Give the landmarks of a seed's picture; None where no face is found in it."""
        known = self.known(f"marks-{seed}")
        if not known.exists():
            found = self.found(self.styles(seed), f"face-{seed}")
            known.write_text(json.dumps(None if found is None else found.tolist()))
        points = json.loads(known.read_text())
        return None if points is None else torch.tensor(points, dtype=torch.float64)

    def found(self, styles: Tensor, name: str) -> Tensor | None:
        """Give the landmarks of any styles' picture."""
        path = self.work / f"{name}.png"
        with torch.no_grad():
            write_png(path, self.generator.image(styles))
        return self.landmarks.find(path)

    def pairs(self, points: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Give seeds with handles and targets (points, 2) far enough apart, without end."""
        marks, seed = list(MARKS[points]), -2
        while True:
            seed += 2
            one, two = self.marks(seed), self.marks(seed + 1)
            if one is None or two is None:
                continue
            handles, targets = (each[marks].clamp(0, self.generator.resolution - 1) for each in (one, two))
            if mean_distance(handles, targets) >= LEAST_PX:
                yield seed, handles, targets


def judge(faces: Faces, points: int, pairs: int) -> dict[str, Any]:
    """Drag all pairs and give their row."""
    settings = settings_for(faces.generator, points).to_json()
    rows = []
    for number, (seed, handles, targets) in enumerate(faces.pairs(points), start=1):
        known = faces.known(f"pair-{points}-{seed}", [settings, MARKS[points]])
        if not known.exists():
            known.write_text(json.dumps(judge_pair(faces, f"{points}-{seed}", handles, targets)))
        rows.append(json.loads(known.read_text()))
        if number % 10 == 0:
            print(f"{points} points: {number} of {pairs} pairs", file=sys.stderr, flush=True)
        if number == pairs:
            break
    return {"points": points, "pairs": len(rows), **figures(rows), "goal": GOALS[points], "paper": PAPER[points]}


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum pairs up; each side over the pairs in whose picture a face is found after it."""
    ratios, lost = {}, {}
    for side in SIDES:
        seen = [row for row in rows if row["after px"][side] is not None]
        lost[side] = len(rows) - len(seen)
        before_px = sum(row["before px"] for row in seen)
        ratios[side] = sum(row["after px"][side] for row in seen) / before_px if seen else float("nan")
    tracked = [row["after px"]["tracked"] / row["before px"] for row in rows if row["after px"]["tracked"] is not None]
    before = statistics.mean(row["before px"] for row in rows)
    return {
        "no edit, px": round(before, 1),
        "after / before": round(ratios["tracked"], 3),
        "median": round(statistics.median(tracked), 3),
        "tracking off": round(ratios["tracking off"], 3),
        "random walk": round(ratios["random walk"], 3),
        "faces gone": ", ".join(f"{count} {side}" for side, count in lost.items() if count),
        "tracker's own": round(statistics.mean(row["tracker px"] for row in rows) / before, 3),
        "steps": round(statistics.mean(row["steps"] for row in rows), 1),
        "ends": " ".join(f"{sum(row['end'] == end for row in rows)} {end}" for end in ("arrived", "lost", "steps")),
    }


def judge_pair(faces: Faces, name: str, handles: Tensor, targets: Tensor) -> dict[str, Any]:
    """Drag one pair with and without tracking, and walk at random; find the landmarks again."""
    generator, points = faces.generator, len(handles)
    seed, marks = int(name.split("-")[1]), list(MARKS[points])
    settings = settings_for(generator, points)
    edit = Edit(tuple(map(tuple, handles.tolist())), tuple(map(tuple, targets.tolist())), settings)
    engine = Engine(generator, faces.styles(seed), edit)
    last = drag(engine)
    untracked = Untracked(generator, faces.styles(seed), edit, last.number)
    ends = {
        "tracked": engine.w_plus(last.offsets),
        "tracking off": untracked.w_plus(drag(untracked).offsets),
        "random walk": engine.w_plus(walk(engine, last.number, seed)),
    }
    found = {side: faces.found(styles, f"{name}-{side.replace(' ', '-')}") for side, styles in ends.items()}
    return {
        "before px": mean_distance(handles, targets),
        "after px": {side: None if at is None else mean_distance(at[marks], targets) for side, at in found.items()},
        "tracker px": float(engine.distances(last).mean()),
        "steps": last.number,
        "end": engine.end(last),
        "lost": int(last.lost.sum()),
    }


class Untracked(Engine):
    """Never looks where a point is: each is assumed to go to its target evenly, and to be there after so many steps."""

    def __init__(self, generator: Generator, start: Tensor, edit: Edit, steps: int) -> None:
        """Look at the start."""
        stop = min(edit.settings.stop_px, 0.01)
        super().__init__(
            generator, start, replace(edit, settings=replace(edit.settings, stop_px=stop, max_steps=steps))
        )
        stride = self.distances(self.first())[:, None] / steps
        self._even = step_vectors(self.first().points, self.targets, replace(self.settings, step_px=256.0))
        self._even = self._even / torch.linalg.vector_norm(self._even, dim=1, keepdim=True).clamp(min=1e-9) * stride

    def _found(self, frame: Frame) -> Frame:
        return replace(frame, points=frame.points + self._even)


def walk(engine: Engine, steps: int, seed: int) -> Tensor:
    """Give the offsets, (groups, width), after some steps of Adam on random gradients."""
    first, draw = engine.first(), torch.Generator().manual_seed(seed)
    value, moments = first.offsets, first.moments
    for _ in range(steps):
        value, moments = adam(value, torch.randn(value.shape, generator=draw), moments, engine.settings.lr)
    return value


if __name__ == "__main__":
    main(sys.argv[1:])
