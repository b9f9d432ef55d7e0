"""A first guess at styles: of many random pictures, seen small and cheaply, the one that is most like the photo."""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float32
from torch import Tensor

from trimtab.models.stylegan.generator import Generator
from trimtab.models.stylegan.preview import shrink

SEEN_PX: Final = 32
SEED: Final = 0
DRAWN: Final = 0.8
"""Truncation of what was found: what is strange about it is not what is strange about the photo."""
_known: WeakKeyDictionary[Generator, tuple[Tensor, Tensor]] = WeakKeyDictionary()


@torch.no_grad()
def nearest_style(
    generator: Generator, picture: Float32[Tensor, "1 3 rows columns"], *, count: int
) -> Float32[Tensor, "1 width"]:
    """Give the style of the random picture that is nearest to one; the mean style where ``count`` is 0.

    The random pictures are always the same, and are remembered as long as the generator lives.
    """
    if not count:
        return generator.w_mean[None]
    if generator not in _known or len(_known[generator][0]) != count:
        _known[generator] = _samples(generator, count)
    styles, seen = _known[generator]
    away = (seen - shrink(picture, seen.shape[-1])).square().mean(dim=(1, 2, 3))
    return torch.lerp(generator.w_mean[None], styles[away.argmin()][None], DRAWN)


def _samples(generator: Generator, count: int) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(SEED)
    size = max(size for size in generator.feature_sizes if size <= SEEN_PX)
    styles, seen = [], []
    for _ in range(count):
        style = generator.map(torch.randn(1, generator.z_width, generator=source).to(generator.w_mean))
        preview = generator.preview(generator.features(generator.w_plus(style), size))
        styles.append(style)
        seen.append(shrink(preview, min(SEEN_PX, preview.shape[-1])))
    return torch.cat(styles), torch.cat(seen)
