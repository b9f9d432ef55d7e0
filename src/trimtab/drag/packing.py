"""The moments of an edit as a few tensors, as they lie in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from trimtab.core.errors import FormatError
from trimtab.drag.adam import Moments
from trimtab.drag.engine import Frame

REMEDY: Final = "Choose another --out and drag again."
PACKED: Final = ("offsets", "first", "second", "moment_steps", "sought", "points", "lost")


def pack(frames: Sequence[Frame]) -> dict[str, Tensor]:
    """Give all moments of an edit as one tensor for each of their parts."""
    return {
        "offsets": torch.stack([frame.offsets for frame in frames]),
        "first": torch.stack([frame.moments.first for frame in frames]),
        "second": torch.stack([frame.moments.second for frame in frames]),
        "moment_steps": torch.tensor([frame.moments.steps for frame in frames]),
        "sought": torch.stack([frame.sought for frame in frames]),
        "points": torch.stack([frame.points for frame in frames]),
        "lost": torch.stack([frame.lost for frame in frames]),
    }


def unpack(packed: Mapping[str, Tensor], like: Frame, path: Path) -> list[Frame]:
    """Give the moments of an edit.

    Args:
        packed: as ``pack`` gave them.
        like: its first moment, whose shapes they must have.
        path: of the file that they are from.

    Raises:
        FormatError: they are not those of such an edit, or not whole.
    """
    first = pack([like])
    for name, tensor in packed.items():
        expected = first[name]
        if tensor.shape[1:] != expected.shape[1:] or tensor.dtype != expected.dtype or not len(tensor):
            raise FormatError(path, f"{name} is {tensor.dtype} {list(tensor.shape)}", remedy=REMEDY)
    counts = {len(tensor) for tensor in packed.values()}
    if len(counts) != 1 or not all(bool(torch.isfinite(tensor).all()) for tensor in packed.values()):
        raise FormatError(path, "holds frames that are not whole", remedy=REMEDY)
    moved = {
        name: tensor.to(like.offsets.device)
        for name, tensor in packed.items()
        if name in ("offsets", "first", "second")
    }
    rows: dict[str, Any] = {**packed, **moved}
    return [
        Frame(
            number,
            rows["offsets"][number],
            Moments(rows["first"][number], rows["second"][number], int(rows["moment_steps"][number])),
            rows["sought"][number],
            rows["points"][number],
            rows["lost"][number],
        )
        for number in range(counts.pop())
    ]
