"""Cheap pictures of a drag at work: the known picture it began with, changed by what features say has changed."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from trimtab.models.stylegan.generator import Features, Generator, Window
from trimtab.models.stylegan.preview import shrink

MOST_PX: Final = 512
MUCH: Final = 0.12  # of the range from -1 to 1; 0.06 to 0.12 show moved faces alike, and smaller or no fading worse
BLUR: Final = 5  # pixels of a preview


class Previews:
    """Previews of pictures near a known one.

    What a preview shows wrong of the known picture it shows wrong of its neighbours too, so the difference of both
    previews is added to the picture itself: what does not move stays sharp. Where much has changed the known picture's
    detail fades, since it lies in the wrong place there.

    Attributes:
        known: the known picture, shrunk.
    """

    def __init__(
        self,
        generator: Generator,
        w_plus: Float32[Tensor, "1 styles width"],
        picture: Float[Tensor, "1 3 rows columns"],
    ) -> None:
        """Take the known picture.

        Args:
            generator: frozen.
            w_plus: styles of the picture.
            picture: as the generator makes it.
        """
        self._generator, self._w_plus = generator, w_plus
        self._see = generator.preview_near(w_plus, picture)
        self.known = shrink(picture, min(MOST_PX, generator.resolution))
        self._seen: tuple[int, Window | None, Tensor] | None = None

    @torch.no_grad()
    def of(self, features: Features) -> Float[Tensor, "1 3 height width"]:
        """Give the picture of features, of at most ``MOST_PX`` pixels a side, within -1 to 1."""
        before = self._before(features.size, features.window)
        change = self._see(features) - before
        much = F.pad(change.abs().mean(dim=1, keepdim=True), [BLUR // 2] * 4, mode="replicate")
        faded = 1 - 1 / (1 + (F.avg_pool2d(much, BLUR, stride=1) / MUCH) ** 2)
        detail = self.known - self._enlarged(before)
        return (self.known + self._enlarged(change) - self._enlarged(faded) * detail).clamp_(-1, 1)

    def _enlarged(self, picture: Tensor) -> Tensor:
        return F.interpolate(picture, size=self.known.shape[-2:], mode="bilinear")

    def _before(self, size: int, window: Window | None) -> Tensor:
        """Give the preview of the known picture through the same window; the last one is kept."""
        if self._seen is None or self._seen[:2] != (size, window):
            features = self._generator.features(self._w_plus, size, window=window)
            self._seen = size, window, self._see(features)
        return self._seen[2]
