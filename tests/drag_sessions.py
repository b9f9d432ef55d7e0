"""Sessions of a small generator, and what tests ask of them."""

from __future__ import annotations

import hashlib

import torch

from dragging import edit, net
from trimtab.drag.engine import Frame
from trimtab.drag.mask import check_mask
from trimtab.drag.picture import write_png
from trimtab.drag.recipe import Start
from trimtab.drag.session import Session
from trimtab.drag.stored import (
    recipe_of,
    save_session,
    start_styles,
)

SEEDED = Start(7, 0.7)


def session(*, steps: int = 3, **changes) -> Session:
    made = Session(net(), start_styles(net(), SEEDED))
    made.begin(edit(net(), feature_size=16, **changes))
    for _ in range(steps):
        made.advance()
    return made


def save(made: Session, folder) -> None:
    save_session(folder, made, recipe_of(made, SEEDED, generator="tiny"))


def same(a: Frame, b: Frame) -> bool:
    pairs = [(a.offsets, b.offsets), (a.moments.first, b.moments.first), (a.moments.second, b.moments.second)]
    pairs += [(a.points, b.points), (a.sought, b.sought), (a.lost, b.lost)]
    return a.number == b.number and all(torch.equal(*pair) for pair in pairs)


def more(made: Session) -> None:
    """Begin another edit, of another point."""
    made.begin(edit(net(), feature_size=16, handles=((10.0, 40.0),), targets=((10.0, 44.0),)))
    made.advance()


def png_hash(made: Session, path) -> str:
    write_png(path, made.picture())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def columns(first: int, last: int) -> torch.Tensor:
    movable = torch.zeros(64, 64, dtype=torch.bool)
    movable[:, first:last] = True
    return movable


def half() -> torch.Tensor:
    return columns(16, 48)


def masked(**changes) -> Session:
    return session(steps=4, mask=check_mask(half(), 64), mask_weight=0.0, **changes)


def outside(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a - b).abs()[..., :4].max().item()
