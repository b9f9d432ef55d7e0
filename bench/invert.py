"""Inverting generated faces to which nothing was fitted: how near styles come, an adapter, and a drag after it.

The faces are drawn by seed, some with a style of another face in the upper layers, some changed as no style does
(colour and contrast, a mark). Each is inverted; then its nose is dragged 30 px to the side on the adapted generator. A
drag "works" by the tracker here, which is rosier than the truth (bench/drag.py judges by landmarks); what is far from
the points is compared with the picture before.

    python bench/invert.py [--faces 8] [--skip 0] [--set adapter_steps=300 ...] [--json PATH]

Needs `trimtab models add face`. PSNR is of the whole picture of 1024 px, in dB. No LPIPS is computed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from _table import print_table
from trimtab.drag.edit import Edit
from trimtab.drag.invert.run import Inversion, InvertSettings, invert
from trimtab.drag.session import Session
from trimtab.drag.settings import preset
from trimtab.models.stylegan.adapter import adapted
from trimtab.models.stylegan.generator import Generator, latent_of_seed
from trimtab.models.stylegan.load import load_generator
from trimtab.store.resolve import resolve

NOSE = (512.0, 630.0)
TO = (542.0, 630.0)
FAR_PX = 330
"""Beyond this from the nose, hair and background should stay."""
UPPER = 10
"""Styles of another face from this layer on."""


@dataclass(frozen=True)
class Case:
    """A face to invert."""

    name: str
    seed: int
    truncation: float = 0.7
    other: int | None = None
    change: Callable[[Tensor], Tensor] | None = None


def faded(picture: Tensor) -> Tensor:
    """Take contrast away and add a cast."""
    cast = torch.tensor([0.12, 0.0, -0.1])[:, None, None]
    return (0.75 * picture + cast).clamp(-1, 1)


def marked(picture: Tensor) -> Tensor:
    """Draw a green disc on the cheek."""
    axis = torch.arange(picture.shape[-1])
    inside = (axis[None] - 380).square() + (axis[:, None] - 640).square() < 28**2
    return torch.where(inside, torch.tensor([-0.6, 0.7, -0.3])[:, None, None], picture)


CASES = (
    Case("0.7", 3000),
    Case("1.0", 3001, 1.0),
    Case("mixed styles", 3002, other=3003),
    Case("faded", 3004, change=faded),
    Case("marked", 3005, change=marked),
    Case("0.7", 3006),
    Case("1.0", 3007, 1.0),
    Case("0.7", 3008),
)


@torch.no_grad()
def picture_of(generator: Generator, case: Case) -> Tensor:
    """Make the picture of a case."""
    w_plus = generator.w_plus(generator.map(latent_of_seed(case.seed, generator.z_width)), truncation=case.truncation)
    if case.other is not None:
        other = generator.map(latent_of_seed(case.other, generator.z_width))
        w_plus[:, UPPER:] = generator.w_plus(other, truncation=case.truncation)[:, UPPER:]
    picture = generator.image(w_plus)
    return picture if case.change is None else case.change(picture)


def measure(generator: Generator, case: Case, settings: InvertSettings) -> dict[str, Any]:
    """Invert one face and drag it."""
    picture, begun, wall = picture_of(generator, case), time.process_time(), time.perf_counter()
    inversion = None
    for step in invert(generator, picture, settings):
        inversion = step.inversion
    assert inversion is not None
    return {
        "face": f"{case.seed} {case.name}",
        "styles dB": inversion.psnr_styles_db,
        "with adapter dB": inversion.psnr_db,
        "adapter MB": inversion.adapter.stored_bytes / 1e6,
        "cpu minutes": (time.process_time() - begun) / 60,
        "minutes": (time.perf_counter() - wall) / 60,
        **dragged(generator, inversion),
    }


def dragged(generator: Generator, inversion: Inversion) -> dict[str, Any]:
    """Drag the nose on the adapted generator."""
    worn = adapted(generator, inversion.adapter)
    settings = preset("trimtab", resolution=worn.resolution, feature_sizes=worn.feature_sizes, groups=len(worn.groups))
    session = Session(worn, inversion.w_plus)
    before = session.picture()
    session.begin(Edit((NOSE,), (TO,), settings))
    engine = session.take.engine
    start = float(engine.distances(session.frame))
    while not engine.end(session.frame):
        session.advance()
    axis = torch.arange(worn.resolution)
    far = (axis[None] - NOSE[0]).square() + (axis[:, None] - NOSE[1]).square() > FAR_PX**2
    change = (session.picture() - before).abs()[0].mean(dim=0)
    return {
        "drag px": f"{start:.0f} -> {float(engine.distances(session.frame)):.1f}",
        "steps": session.frame.number,
        "change near /255": float(change[~far].mean()) * 127.5,
        "change far /255": float(change[far].mean()) * 127.5,
    }


def main() -> None:
    """Measure faces one after the other, and print each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=len(CASES))
    parser.add_argument("--skip", type=int, default=0, help="faces to leave out at the beginning")
    parser.add_argument("--generator", default="face")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    changes = {key: json.loads(value) for key, _, value in (word.partition("=") for word in given.set)}
    generator, settings = load_generator(resolve(given.generator)), InvertSettings(**changes)
    rows = []
    for case in CASES[given.skip : given.skip + given.faces]:
        rows.append(measure(generator, case, settings))
        print_table(rows[-1:], digits=2)
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1))
    print_table(rows, digits=2)


if __name__ == "__main__":
    main()
