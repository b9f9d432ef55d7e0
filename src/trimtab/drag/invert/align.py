"""From a photo to the square that a generator of faces knows: open it, find the face, turn and cut it out."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.drag.picture import DAMAGED, FORMATS, eight_bits

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS: Final = 50_000_000
LEAST_PX: Final = 16
TURNS: Final = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""From the orientation in a photo's EXIF to Pillow's names."""
LEAST_SQUARE_PX: Final = 8.0
OVERSIZE: Final = 3.0
"""A square may be this many times as large as the photo's longer side."""


@dataclass(frozen=True)
class Placement:
    """The square of a photo that becomes the generator's picture.

    Attributes:
        x: of its centre, in pixels of the photo from its left edge.
        y: of its centre, from the top edge.
        size: length of its side, in pixels of the photo.
        angle: by how much it is turned clockwise, in degrees.
    """

    x: float
    y: float
    size: float
    angle: float = 0.0

    def check(self, width: int, height: int) -> None:
        """Insist that the square has to do with a photo of this size.

        Raises:
            RangeError: as it says.
        """
        if not all(map(math.isfinite, (self.x, self.y, self.size, self.angle))):
            raise RangeError(f"{self}: allowed are finite numbers.")
        if not (0 <= self.x <= width and 0 <= self.y <= height):
            raise RangeError(f"the square's centre {self.x:g},{self.y:g} lies outside the photo of {width} x {height}.")
        most = OVERSIZE * max(width, height)
        if not LEAST_SQUARE_PX <= self.size <= most:
            raise RangeError(f"the square's side {self.size:g}: allowed is {LEAST_SQUARE_PX:g} to {most:g} pixels.")
        if not -180 <= self.angle <= 180:
            raise RangeError(f"the square's angle {self.angle:g}: allowed is -180 to 180 degrees.")


def open_photo(data: bytes | Path) -> Image:
    """Decode a photo, upright as its camera meant it, as red, green and blue.

    Raises:
        MissingError: there is no such file.
        FormatError: it is no picture, or damaged, or not whole.
        RangeError: it has too many pixels, which are then not decoded, or too few.
    """
    from PIL import Image as Pillow

    name = data if isinstance(data, Path) else "the photo"
    if isinstance(data, Path) and not data.is_file():
        raise MissingError(f"{data}: no such file. Give a photo, as JPEG, PNG or WebP.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is judged here, and metadata may be as odd as it likes
            with Pillow.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS) as image:
                _check_pixels(image.width, image.height, name)
                return _upright(image, eight_bits(image).convert("RGB"))
    except Pillow.DecompressionBombError as error:
        raise RangeError(_too_large(name, "far too many")) from error
    except DAMAGED as error:
        if isinstance(error, RangeError):
            raise
        problem = f"is no picture that can be read whole ({error!s:.120})"
        raise FormatError(name, problem, remedy="Save it anew as JPEG, PNG or WebP.") from error


def find_face(photo: Image) -> Placement:
    """Find the clearest face of a photo, and the square around it in which generators were shown faces.

    Raises:
        RangeError: there is none that can be found: turned away, covered, very small, or upside down.
    """
    from trimtab.drag.invert.finder import find_points

    points = find_points(photo)
    if points is None:
        raise RangeError("no face found in the photo. Place the square by hand, or take a photo from the front.")
    return square_of(points)


def square_of(points: Float[Tensor, "5 2"]) -> Placement:
    """Give the square around a face.

    Args:
        points: left and right eye, nose tip, left and right corner of the mouth, as x and y.

    Source: arXiv:1710.10196, appendix C: by eyes and mouth, four times as wide as the eyes are apart, or 3.6 times as
    high as they are above the mouth.
    """
    left, right, _, one, other = points.double()
    eyes, mouth = (left + right) / 2, (one + other) / 2
    across, down = right - left, mouth - eyes
    axis = across + torch.stack([down[1], -down[0]])
    size = max(4.0 * float(across.norm()), 3.6 * float(down.norm()))
    x, y = (eyes + 0.1 * down).tolist()
    return Placement(x, y, size, math.degrees(math.atan2(float(axis[1]), float(axis[0]))))


def align(photo: Image, placement: Placement, resolution: int) -> Float32[Tensor, "1 3 resolution resolution"]:
    """Cut a square out of a photo; what lies outside the photo is its mirror image.

    Args:
        photo: red, green and blue.
        placement: the square.
        resolution: rows and columns of the result.

    Returns:
        The picture within -1 to 1.

    Raises:
        RangeError: the square has nothing to do with the photo.
    """
    from PIL import Image as Pillow

    placement.check(photo.width, photo.height)
    twice = 2 * resolution
    shrunk = min(1.0, twice / placement.size)
    width, height = (max(round(side * shrunk), 1) for side in photo.size)
    if (width, height) != photo.size:
        photo = photo.resize((width, height), Pillow.Resampling.LANCZOS, reducing_gap=3.0)
    pixels = torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    grid = _grid(placement, twice, shrunk, (width, height))
    found = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(found, 2)


def _upright(image: Image, pixels: Image) -> Image:
    """Turn pixels as the camera says that it was held; what cannot be read of that is as if it said nothing."""
    from PIL import ExifTags
    from PIL.Image import Transpose

    try:
        turn = image.getexif().get(ExifTags.Base.Orientation)
    except DAMAGED:
        return pixels
    return pixels.transpose(Transpose[TURNS[turn]]) if isinstance(turn, int) and turn in TURNS else pixels


def _grid(placement: Placement, count: int, shrunk: float, size: tuple[int, int]) -> Tensor:
    """Give where in a photo, from -1 to 1, the pixels of a square lie."""
    steps = ((torch.arange(count, dtype=torch.float64) + 0.5) / count - 0.5) * placement.size
    turn = math.radians(placement.angle)
    x = placement.x + steps[None] * math.cos(turn) - steps[:, None] * math.sin(turn)
    y = placement.y + steps[None] * math.sin(turn) + steps[:, None] * math.cos(turn)
    places = torch.stack([x * (2 * shrunk / size[0]) - 1, y * (2 * shrunk / size[1]) - 1], dim=-1)
    return places.float()[None]


def _check_pixels(width: int, height: int, name: str | Path) -> None:
    if width * height > MOST_PIXELS:
        raise RangeError(_too_large(name, f"{width} x {height}"))
    if min(width, height) < LEAST_PX:
        raise RangeError(f"{name} has {width} x {height} pixels; {LEAST_PX} are the fewest along a side.")


def _too_large(name: str | Path, given: str) -> str:
    return f"{name} has {given} pixels; {MOST_PIXELS:,} are the most. Shrink it."
