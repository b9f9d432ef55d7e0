"""One picture of several edits: before above, with the way of every point, and after below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from trimtab.drag.edit import Point

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

SIDE: Final = 320
GAP: Final = 12
TITLE: Final = 34
PAPER: Final = (250, 249, 246)
INK: Final = (34, 34, 40)
HANDLE: Final = (214, 40, 40)
TARGET: Final = (29, 100, 214)
OUTLINE: Final = (255, 255, 255)
DOT: Final = 5
LINE: Final = 3


@dataclass(frozen=True)
class SheetEdit:
    """What the sheet shows of an edit.

    Attributes:
        title: a few words.
        before: the picture, square.
        after: the same one edited.
        handles: points in pixels of the pictures.
        targets: where each was to go.
    """

    title: str
    before: Image
    after: Image
    handles: tuple[Point, ...]
    targets: tuple[Point, ...]


def contact_sheet(edits: Sequence[SheetEdit]) -> Image:
    """Draw edits side by side."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    width, height = GAP + len(edits) * (SIDE + GAP), TITLE + 2 * (SIDE + GAP)
    sheet = Pillow.new("RGB", (width, height), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for index, edit in enumerate(edits):
        left, top = GAP + index * (SIDE + GAP), TITLE
        draw.text((left, TITLE / 2), edit.title, INK, font, anchor="lm")
        sheet.paste(_small(edit.before), (left, top))
        sheet.paste(_small(edit.after), (left, top + SIDE + GAP))
        _draw_ways(draw, edit, (left, top))
    return sheet


def _small(picture: Image) -> Image:
    from PIL import Image as Pillow

    return picture.resize((SIDE, SIDE), Pillow.Resampling.LANCZOS)


def _draw_ways(draw: ImageDraw, edit: SheetEdit, corner: tuple[int, int]) -> None:
    """Draw lines first, so that no dot is hidden by one; a point that is to stay is a dot alone."""
    scale = SIDE / edit.before.width
    ends = [
        [(corner[0] + x * scale, corner[1] + y * scale) for x, y in way]
        for way in zip(edit.handles, edit.targets, strict=True)
    ]
    for width, colour in ((LINE + 2, OUTLINE), (LINE, TARGET)):
        for way in ends:
            draw.line(way, colour, width)
    for handle, target in ends:
        for place, colour in ((target, TARGET), (handle, HANDLE)):
            draw.circle(place, DOT, colour, OUTLINE, 1)
