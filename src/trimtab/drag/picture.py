"""Pictures in and out: PNG, grey masks, and the moving picture of a drag."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from trimtab.core.errors import FormatError, RangeError
from trimtab.store.durable import write_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

Animation: TypeAlias = Literal["gif", "webp"]
FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""Read are these alone: Pillow knows more, and some of those start other programs."""
STORED_FORMATS: Final = ("PNG",)
"""What a session's own pictures are kept as."""
DAMAGED: Final = (
    *(OSError, ValueError, SyntaxError, EOFError, ArithmeticError),
    *(LookupError, TypeError, AttributeError, struct.error),
)
"""What Pillow raises at a file that is damaged or no picture."""
DEEP_MODES: Final = ("I", "I;16", "I;16L", "I;16B", "I;16N")
DEEP_MOST: Final = 65535
FRAME_MS: Final = 80
LAST_MS: Final = 1200


def to_bytes(picture: Float[Tensor, "1 3 rows columns"]) -> UInt8[Tensor, "rows columns 3"]:
    """Turn a picture within -1 to 1 into bytes."""
    scaled = (picture[0].detach().cpu() + 1) * 127.5
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()


def to_image(picture: Float[Tensor, "1 3 rows columns"], *, most_px: int | None = None) -> Image:
    """Turn a picture into one of Pillow's, shrunk to ``most_px`` where it is larger."""
    from PIL import Image as Pillow

    image = Pillow.fromarray(to_bytes(picture).numpy())
    if most_px is not None and image.width > most_px:
        return image.resize((most_px, most_px), Pillow.Resampling.LANCZOS)
    return image


def write_png(path: Path, picture: Float[Tensor, "1 3 rows columns"]) -> None:
    """Write a picture; the same picture gives the same bytes.

    Raises:
        CheckpointError: the disk refused.
    """
    write_image(path, to_image(picture))


def write_image(path: Path, image: Image) -> None:
    """Write one of Pillow's pictures as PNG.

    Raises:
        CheckpointError: the disk refused.
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())


def write_grey(path: Path, shares: Tensor) -> None:
    """Write what is true, or 1, as white.

    Raises:
        CheckpointError: the disk refused.
    """
    from PIL import Image as Pillow

    write_image(path, Pillow.fromarray((shares.float() * 255).round().to(torch.uint8).numpy()))


def write_animation(path: Path, frames: Sequence[Image], kind: Animation) -> None:
    """Write frames as a moving picture that plays for ever and rests on its last frame.

    Raises:
        CheckpointError: the disk refused.
    """
    buffer = io.BytesIO()
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    settings = {"quality": 85, "method": 2} if kind == "webp" else {}
    frames[0].save(
        buffer, format=kind, save_all=True, append_images=list(frames[1:]), duration=durations, loop=0, **settings
    )
    write_bytes(path, buffer.getvalue())


def eight_bits(image: Image) -> Image:
    """Scale a grey picture of 16 bits to 8, as programs mean it; Pillow alone would clip it. Others stay as they are.

    Raises:
        ValueError: its shades are other numbers than those of 8 or 16 bits.
    """
    from PIL import Image as Pillow

    if image.mode not in (*DEEP_MODES, "F"):
        return image
    shades = np.asarray(image)
    if image.mode == "F" or shades.min() < 0 or shades.max() > DEEP_MOST:
        raise ValueError("its shades are not those of 8 or 16 bits")
    return Pillow.fromarray(np.round(shades * (255 / DEEP_MOST)).astype(np.uint8))


def read_grey(path: Path, *, most_pixels: int, formats: tuple[str, ...] = FORMATS) -> UInt8[Tensor, "rows columns"]:
    """Read a picture file as shades of grey; what is transparent is black.

    Raises:
        FormatError: it is no picture of these formats, damaged, or not whole.
        RangeError: it has more pixels than allowed.
    """
    from PIL import Image as Pillow

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is judged below, and metadata may be as odd as it likes
            with Pillow.open(path, formats=formats) as image:
                fits = image.width * image.height <= most_pixels
                layers = eight_bits(image).convert("LA") if fits else None
    except Pillow.DecompressionBombError:
        layers = None
    except DAMAGED as error:
        raise FormatError(path, f"is no picture that can be read ({error!s:.120})", remedy="Save it as PNG.") from error
    if layers is None:
        raise RangeError(f"{path} has too many pixels; {most_pixels:,} are the most. Shrink it.")
    grey, cover = (np.asarray(layer, dtype=np.uint16) for layer in layers.split())
    return torch.from_numpy((grey * cover // 255).astype(np.uint8))
