"""What may move: a mask is 1 where the picture may change and 0 where it is to stay, as in the paper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from trimtab.core.errors import MissingError, RangeError
from trimtab.drag.picture import FORMATS, read_grey
from trimtab.drag.settings import Reduction
from trimtab.models.stylegan.generator import Features

MOST_PIXELS: Final = 1 << 24
HALF: Final = 128
SOFT: Final = 3  # map pixels over which the edge of a mask is softened


@dataclass(frozen=True)
class Mask:
    """A checked mask: true where the picture may change."""

    movable: Bool[Tensor, "rows columns"]

    def at(self, size: int) -> Float[Tensor, "1 1 size size"]:
        """Give the movable share of each pixel of a map."""
        return F.adaptive_avg_pool2d(self.movable[None, None].float(), size)

    def soft_at(self, size: int) -> Float[Tensor, "1 1 size size"]:
        """Give the movable share with its edge softened inwards: 0 wherever a map's pixel holds something fixed."""
        inner = -F.max_pool2d(-self.at(size), SOFT, stride=1, padding=SOFT // 2).floor()
        padded = F.pad((inner >= 1).float(), [SOFT // 2] * 4, mode="replicate")
        return F.avg_pool2d(padded, SOFT, stride=1) * (self.at(size) > 0)


def read_mask(path: Path, resolution: int, *, formats: tuple[str, ...] = FORMATS) -> Mask:
    """Read a mask from a picture file of one of these formats: light is movable.

    Raises:
        MissingError: there is no such file.
        FormatError: it is no picture, or damaged.
        RangeError: it has another size than the generator's pictures, or nothing in it is movable.
    """
    if not path.is_file():
        raise MissingError(f"--mask {path}: no such file. Give a picture, white where the face may move.")
    grey = read_grey(path, most_pixels=MOST_PIXELS, formats=formats)
    return check_mask(grey >= HALF, resolution, name=str(path))


def check_mask(movable: Bool[Tensor, "rows columns"], resolution: int, *, name: str = "the mask") -> Mask:
    """Insist that a mask fits the picture and leaves something to move.

    Raises:
        RangeError: it does not.
    """
    rows, columns = movable.shape
    if (rows, columns) != (resolution, resolution):
        raise RangeError(f"{name} has {columns} x {rows} pixels; expected are {resolution} x {resolution}. Resize it.")
    if not bool(movable.any()):
        raise RangeError(f"{name} is empty: nothing may move. Paint white what may move, or leave the mask out.")
    return Mask(movable)


def ellipse(resolution: int, centre: tuple[float, float], half_axes: tuple[float, float]) -> Mask:
    """Let things move within an ellipse.

    Args:
        resolution: of the picture.
        centre: x and y in pixels.
        half_axes: across and down, in pixels.
    """
    places = torch.arange(resolution, dtype=torch.float64)
    across, down = ((places - middle) / half for middle, half in zip(centre, half_axes, strict=True))
    return check_mask(across[None] ** 2 + down[:, None] ** 2 <= 1, resolution, name="the ellipse")


def mask_loss(
    values: Float[Tensor, "1 channels size size"],
    start: Float[Tensor, "1 channels size size"],
    fixed: Float[Tensor, "1 1 size size"],
    *,
    resolution: int,
    reduction: Reduction,
) -> Float[Tensor, ""]:
    """Say how much features changed where nothing may move, in L1 at the map's own resolution.

    Source: arXiv:2305.10973, second term of equation 1, which is taken at the picture's resolution there: a pixel of
    the map stands for all the pixels of the picture over it.
    """
    change = ((values - start).abs() * fixed).sum()
    if reduction == "mean":
        return change / values.numel()
    return change * (resolution / values.shape[-1]) ** 2


def blend(new: Features, old: Features, movable: Float[Tensor, "1 1 size size"]) -> Features:
    """Give features that are new where something may move and old elsewhere, with the pictures they carry."""

    def mixed(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        if a is None or b is None:
            return None
        return torch.lerp(b, a, movable.to(a))

    values = mixed(new.values, old.values)
    assert values is not None
    return replace(new, values=values, whole=values, skip=mixed(new.skip, old.skip))


def carry(new: Features, begun: Features, shown: Features) -> Features:
    """Add to what was shown when an edit began how features have changed since.

    Args:
        new: features now, of the whole map.
        begun: of the same styles that the edit began with.
        shown: what was shown then, in which masks of earlier edits may have kept something.
    """

    def added(a: Tensor | None, b: Tensor | None, to: Tensor | None) -> Tensor | None:
        if a is None or b is None or to is None:
            return None
        return to + (a - b)

    values = added(new.values, begun.values, shown.values)
    assert values is not None
    return replace(new, values=values, whole=values, skip=added(new.skip, begun.skip, shown.skip))
