"""Painting the parts of faces over each other, from the background to the brows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from trimtab.drag.face_world import palette
from trimtab.drag.face_world.layout import SKULL, Layout, Parts
from trimtab.drag.face_world.shapes import Along, Egg, Lens, Place, along, band, cover, disc, egg, ellipse, stroke

HAIR_UP: Final = 0.11  # hair above the skull
HAIR_OUT: Final = 0.07  # and beside it
FRINGE_BEND: Final = 0.85
LIPS: Final = 0.032  # thickness of each lip
UPPER_SHARE: Final = 0.2  # of an opening mouth that goes upwards
IRIS_SIZE: Final = 0.80  # in half heights of the open eye
PUPIL_SIZE: Final = 0.48  # of the iris
GLINT_SIZE: Final = 0.30  # of the iris
LASH_PX: Final = 0.035
SHADE: Final = 0.16  # how much brighter the lit side is


@dataclass
class Canvas:
    """A picture in the making.

    Attributes:
        picture: colours in 0 to 1.
        parts: what is painted.
        numbers: all numbers by name.
        outer: the pixels in the picture's coordinates.
        place: the pixels in the head's coordinates.
    """

    picture: Float[Tensor, "batch 3 rows columns"]
    parts: Layout
    numbers: Parts
    outer: Place
    place: Place

    def paint(self, share: Tensor, colours: Tensor) -> None:
        """Cover a share, (batch, rows, columns), of each pixel with a colour, (batch, 3, 1, 1) or a whole picture."""
        self.picture = torch.lerp(self.picture, colours.expand_as(self.picture), share[:, None])


def paint_all(canvas: Canvas) -> None:
    """Paint a whole face on the background that is there."""
    skin = palette.along(canvas.numbers["skin"], palette.SKIN)
    hair = palette.hair(canvas.numbers["hair_hue"], canvas.numbers["hair_light"])
    _back_hair(canvas, hair)
    _body(canvas, skin)
    _head(canvas, skin)
    _nose(canvas, skin)
    _front_hair(canvas, hair)
    _mouth(canvas, skin)
    for eye in canvas.parts.eyes:
        _eye(canvas, eye)
    _brows(canvas, hair)


def lips(opening: Tensor) -> tuple[Tensor, Tensor]:
    """Give how far the lips reach above and below the mouth's middle line."""
    return LIPS + UPPER_SHARE * opening, LIPS + (1 - UPPER_SHARE) * opening


def _lit(canvas: Canvas, colours: Tensor) -> Tensor:
    """Shade a colour: brighter towards the light, darker downwards."""
    across = canvas.numbers["light"] * canvas.place.x * (SHADE / 0.5)
    return colours * (1 + across - 0.08 * canvas.place.y)[:, None]


def _back_hair(canvas: Canvas, hair: Tensor) -> None:
    p, face = canvas.numbers, canvas.parts.face
    length = p["hair_length"]
    outline = Egg(
        width=face.width + HAIR_OUT + 0.07 * length,
        up=torch.full_like(length, SKULL + HAIR_UP),
        down=0.30 + 0.85 * length,
        taper=0.15 - 0.15 * length,
        lean=torch.zeros_like(length),
    )
    canvas.paint(egg(canvas.place, outline), _lit(canvas, 0.72 * hair))


def _body(canvas: Canvas, skin: Tensor) -> None:
    p, outer = canvas.numbers, canvas.outer
    middle = 0.6 * p["x"]
    wide, high = torch.full_like(middle, 0.80), torch.full_like(middle, 0.46)
    shirt = palette.along(p["background"], palette.SHIRT)
    canvas.paint(ellipse(outer, (middle, torch.full_like(middle, 1.22)), (wide, high)), shirt)
    neck = (outer.x - middle).abs() - 0.19
    end = torch.sqrt((outer.x - middle) ** 2 + (outer.y - 0.78).clamp(min=0) ** 2 + 1e-6) - 0.19
    canvas.paint(
        cover(torch.where(outer.y > 0.78, end, neck), outer.edge) * (outer.y > 0),
        skin * palette.fixed(palette.SHADOW, skin),
    )


def _head(canvas: Canvas, skin: Tensor) -> None:
    p, parts, place = canvas.numbers, canvas.parts, canvas.place
    size, face = p["ear_size"], parts.face
    for side in (-1, 1):
        x = side * face.width - 0.10 * parts.turn
        canvas.paint(ellipse(place, (x, torch.full_like(x, 0.06)), (0.75 * size, 1.35 * size)), 0.88 * skin)
    inside = egg(place, face)
    canvas.paint(inside, _lit(canvas, skin))
    _blush(canvas, inside)


def _blush(canvas: Canvas, inside: Tensor) -> None:
    parts, place = canvas.parts, canvas.place
    y = 0.5 * (parts.nose[1] + parts.mouth.height)
    for eye in parts.eyes:
        far = ((place.x - eye.middle) ** 2 + (place.y - y) ** 2) / 0.13**2
        canvas.paint(0.22 * inside * torch.exp(-far), palette.fixed(palette.BLUSH, far))


def _nose(canvas: Canvas, skin: Tensor) -> None:
    p, (x, y), place = canvas.numbers, canvas.parts.nose, canvas.place
    wide = p["nose_width"]
    bridge = (x * 0.75, y - 0.11)
    canvas.paint(0.5 * ellipse(place, bridge, (0.5 * wide, torch.full_like(wide, 0.11))), _lit(canvas, 1.08 * skin))
    canvas.paint(ellipse(place, (x, y + 0.012), (wide, 0.62 * wide)), 0.72 * skin)
    canvas.paint(ellipse(place, (x, y - 0.006), (0.92 * wide, 0.55 * wide)), _lit(canvas, 1.06 * skin))


def _front_hair(canvas: Canvas, hair: Tensor) -> None:
    parts, place = canvas.parts, canvas.place
    face, (x, y) = parts.face, parts.fringe
    skull = Egg(face.width + HAIR_OUT, face.up + HAIR_UP, face.down, face.taper, torch.zeros_like(face.lean))
    away = place.x - x
    edge = place.edge * torch.sqrt(1 + (2 * FRINGE_BEND * away) ** 2)
    above = cover(place.y - y - FRINGE_BEND * away**2, edge)
    canvas.paint(egg(place, skull) * above, _lit(canvas, hair * (1 + 0.1 * (y - place.y))[:, None]))


def _mouth(canvas: Canvas, skin: Tensor) -> None:
    parts, place = canvas.parts, canvas.place
    seen = along(place, parts.mouth)
    up, down = lips(parts.opening)
    lip = torch.lerp(skin, palette.fixed(palette.LIP, skin), 0.75)
    canvas.paint(band(place, seen.curve(up), seen.curve(-down)), lip)
    inner = seen.curve(up - LIPS), seen.curve(LIPS - down)
    canvas.paint(band(place, *inner), palette.fixed(palette.MOUTH, skin))
    teeth = seen.curve(up - LIPS - 0.4 * parts.opening)
    canvas.paint(band(place, inner[0], teeth), palette.fixed(palette.TEETH, skin))
    line = stroke(place, seen, seen.curve(0.0), 0.022)
    closed = (1 - parts.opening / 0.02).clamp(0, 1)
    canvas.paint(line * closed, 0.55 * lip)


def _eye(canvas: Canvas, eye: Lens) -> None:
    p, parts, place = canvas.numbers, canvas.parts, canvas.place
    seen = along(place, eye)
    upper, lower = seen.curve(parts.lids), seen.curve(-parts.lids)
    inside = band(place, upper, lower)
    canvas.paint(inside, palette.fixed(palette.EYE_WHITE, inside))
    _iris(canvas, eye, inside, palette.along(p["iris"], palette.IRIS))
    canvas.paint(_lash(place, seen, upper), palette.fixed(palette.LASH, inside))


def _iris(canvas: Canvas, eye: Lens, inside: Tensor, colours: Tensor) -> None:
    p, parts, place = canvas.numbers, canvas.parts, canvas.place
    radius = IRIS_SIZE * parts.eye
    x = eye.middle + 0.32 * p["gaze_x"] * (eye.right - eye.left) / 2
    y = eye.height + 0.28 * p["gaze_y"] * parts.eye
    canvas.paint(inside * disc(place, x, y, radius), colours)
    canvas.paint(inside * disc(place, x, y, PUPIL_SIZE * radius), palette.fixed(palette.LASH, inside))
    glint = disc(place, x + 0.35 * p["light"] * radius, y - 0.4 * radius, GLINT_SIZE * radius)
    canvas.paint(inside * glint, palette.fixed(palette.EYE_WHITE, inside))


def _lash(place: Place, seen: Along, upper: tuple[Tensor, Tensor]) -> Tensor:
    return stroke(place, seen, upper, LASH_PX)


def _brows(canvas: Canvas, hair: Tensor) -> None:
    thickness = canvas.numbers["brow_thickness"]
    for brow in canvas.parts.brows:
        seen = along(canvas.place, brow)
        canvas.paint(band(canvas.place, seen.curve(thickness), seen.curve(-thickness)), 0.7 * hair)
