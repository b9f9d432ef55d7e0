"""Masks as a browser sends them: one bit a pixel, row by row, the highest bit first; 1 may move."""

from __future__ import annotations

import numpy as np
import torch

from trimtab.core.errors import RangeError
from trimtab.drag.mask import Mask, check_mask


def pack(mask: Mask) -> bytes:
    """Give the bits of a mask."""
    return np.packbits(mask.movable.numpy().reshape(-1)).tobytes()


def unpack(content: bytes, resolution: int) -> Mask | None:
    """Read a mask; one in which everything may move is none.

    Raises:
        RangeError: it is of another size, or nothing may move.
    """
    expected = resolution * resolution // 8
    if len(content) != expected:
        size = f"{resolution} x {resolution}"
        raise RangeError(
            f"the mask has {len(content)} bytes; expected are {expected}, a bit for each of {size} pixels."
        )
    bits = np.unpackbits(np.frombuffer(content, dtype=np.uint8)).reshape(resolution, resolution)
    mask = check_mask(torch.from_numpy(bits.astype(bool)), resolution)
    return None if bool(mask.movable.all()) else mask
