"""Where the parts of a face are: the one source of both pictures and landmarks.

Parts lie in the head's own coordinates, x to the right and y down from its centre; features sit at angles around its
upright axis, so that turning the head moves them and foreshortens them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Final, TypeAlias, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from trimtab.drag.face_world.parameters import NAMES
from trimtab.drag.face_world.shapes import Egg, Lens

INSET: Final = 0.97  # features lie this share of the face's half-width from its axis
NOSE_OUT: Final = 1.3  # and the tip of the nose this, since it stands out
HEAD_DOWN: Final = 0.04  # of the head's centre in the picture, in halves of it
SKULL: Final = 0.60  # from the head's centre to its top
LEAN: Final = 0.14  # of the chin where the head is turned, times the sine of the angle
EYE_SHAPE: Final = 0.36  # half of an eye's height over half of its angle
EYE_ROUND: Final = 0.5
LID_SAG: Final = 0.8  # of a closing lid, in half heights of the open eye
MOST_OPEN: Final = 0.15  # of a mouth
CHIN_DROP: Final = 0.3  # of an opening mouth
ARCH: Final = 0.035  # of a brow
BROW_PAST: Final = 0.05  # radians that a brow is longer than the eye, outwards
BROW_ROUND: Final = 1.0
SMILE_BEND: Final = 0.075
SMILE_MIDDLE: Final = 0.35  # share of a smile's bend by which the middle goes down
FRINGE_OUT: Final = 0.9  # share of the face's half-width at which the hair's edge turns

Parts: TypeAlias = dict[str, Tensor]
T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """Parts of faces; every number is (batch, 1, 1).

    Attributes:
        x: of the head's centre in the picture, -1 to 1.
        y: of the head's centre in the picture, downwards.
        size: of the head.
        roll: radians, clockwise.
        turn: sine of the yaw.
        face: outline.
        eyes: left and right in the picture; bent downwards as far as they are closed.
        lids: half of an eye's opening.
        eye: half of an open eye's height.
        brows: left and right in the picture.
        nose: x and y of its tip.
        mouth: its middle line.
        opening: of the mouth.
        fringe: x and y of the hair's edge where it is highest.
    """

    x: Tensor
    y: Tensor
    size: Tensor
    roll: Tensor
    turn: Tensor
    face: Egg
    eyes: tuple[Lens, Lens]
    lids: Tensor
    eye: Tensor
    brows: tuple[Lens, Lens]
    nose: tuple[Tensor, Tensor]
    mouth: Lens
    opening: Tensor
    fringe: tuple[Tensor, Tensor]


def named(values: Float[Tensor, "batch 32"]) -> Parts:
    """Give the numbers of faces by name, (batch, 1, 1) each."""
    return dict(zip(NAMES, values[:, :, None, None].unbind(dim=1), strict=True))


def layout(values: Float[Tensor, "batch 32"]) -> Layout:
    """Place all parts of faces.

    Angles are taken in float64: a face then has the same bits alone and among others.
    """
    p = named(values.double())
    half = p["face_width"] * INSET
    turn = torch.sin(p["yaw"])
    opening = MOST_OPEN * p["mouth_opening"] ** 2
    eye = EYE_SHAPE * p["eye_size"]
    lids = eye * (1 - (1 - p["eye_opening"]) ** 2)
    nose_y = p["eye_height"] + p["nose_length"]
    return _single(
        Layout(
            x=p["x"],
            y=p["y"] + HEAD_DOWN,
            size=p["size"],
            roll=p["roll"],
            turn=turn,
            face=Egg(
                p["face_width"], torch.full_like(turn, SKULL), p["chin"] + CHIN_DROP * opening, p["jaw"], LEAN * turn
            ),
            eyes=(_eye(p, half, eye - lids, -1), _eye(p, half, eye - lids, 1)),
            lids=lids,
            eye=eye,
            brows=(_brow(p, half, eye, -1), _brow(p, half, eye, 1)),
            nose=(NOSE_OUT * half * turn, nose_y),
            mouth=_mouth(p, half, nose_y + p["mouth_height"] * (p["chin"] - nose_y)),
            opening=opening,
            fringe=(FRINGE_OUT * half * turn, p["fringe"]),
        )
    )


def _eye(p: Parts, half: Tensor, closed: Tensor, side: int) -> Lens:
    spacing, size = p["eye_spacing"], p["eye_size"]
    ends = _ends(p, half, (side * spacing - size, side * spacing + size))
    middle = 0.5 * (ends[0] + ends[1])
    flat = torch.zeros_like(middle)
    sag = LID_SAG * closed
    return Lens(ends[0], middle, ends[1], p["eye_height"] + sag, -sag, flat, EYE_ROUND)


def _brow(p: Parts, half: Tensor, eye: Tensor, side: int) -> Lens:
    spacing, size = p["eye_spacing"], p["eye_size"]
    inner, outer = spacing - size, spacing + size + BROW_PAST
    ends = _ends(p, half, (inner, outer) if side > 0 else (-outer, -inner))
    middle = 0.5 * (ends[0] + ends[1])
    height = p["eye_height"] - eye - p["brow_height"] - ARCH
    return Lens(ends[0], middle, ends[1], height, torch.full_like(middle, ARCH), -side * p["brow_tilt"], BROW_ROUND)


def _mouth(p: Parts, half: Tensor, height: Tensor) -> Lens:
    ends = _ends(p, half, (-p["mouth_width"], p["mouth_width"]))
    middle = half * torch.sin(p["yaw"])
    bend = -SMILE_BEND * p["smile"]
    return Lens(ends[0], middle, ends[1], height - SMILE_MIDDLE * bend, bend, torch.zeros_like(bend))


def _ends(p: Parts, half: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return half * torch.sin(angles[0] + p["yaw"]), half * torch.sin(angles[1] + p["yaw"])


def _single(part: T) -> T:
    """Turn every tensor of a part into float32."""
    return _each(part, lambda tensor: tensor.float())  # type: ignore[no-any-return]


def _each(part: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(part, Tensor):
        return change(part)
    if isinstance(part, tuple):
        return tuple(_each(item, change) for item in part)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{field.name: _each(getattr(part, field.name), change) for field in fields(part)})
    return part
