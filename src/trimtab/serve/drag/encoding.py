"""Pictures on their way to a browser."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from jaxtyping import Float
from torch import Tensor

from trimtab.drag.picture import to_image

HEADER: Final = struct.Struct("<4I")
"""Step, flags, width, height."""
PREVIEW_QUALITY: Final = 85
WHOLE_QUALITY: Final = 93


class Flags(IntFlag):
    """What a frame shows."""

    PREVIEW = 0
    WHOLE = 1
    """Rendered by the whole network, at its own size."""
    START = 2
    """The picture before any edit."""


@dataclass(frozen=True)
class Shot:
    """A frame that is ready to be sent.

    Attributes:
        flags: what it shows.
        content: header and JPEG.
    """

    flags: Flags
    content: bytes


def shoot(picture: Float[Tensor, "1 3 rows columns"], *, step: int, flags: Flags) -> Shot:
    """Make a frame of a picture within -1 to 1."""
    whole = bool(flags & Flags.WHOLE)
    jpeg = jpeg_of(picture, quality=WHOLE_QUALITY if whole else PREVIEW_QUALITY)
    height, width = picture.shape[-2:]
    return Shot(flags, HEADER.pack(step, flags, width, height) + jpeg)


def jpeg_of(picture: Float[Tensor, "1 3 rows columns"], *, quality: int = PREVIEW_QUALITY) -> bytes:
    """Give a picture as JPEG."""
    buffer = io.BytesIO()
    to_image(picture).save(buffer, format="JPEG", quality=quality, subsampling=0 if quality > PREVIEW_QUALITY else 2)
    return buffer.getvalue()


def png_of(picture: Float[Tensor, "1 3 rows columns"]) -> bytes:
    """Give a picture as PNG; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    to_image(picture).save(buffer, format="PNG")
    return buffer.getvalue()
