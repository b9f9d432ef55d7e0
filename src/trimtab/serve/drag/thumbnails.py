"""Small pictures of seeds, to choose one by: previews, which cost a fraction of a picture."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Final

import torch

from trimtab.drag.recipe import Start
from trimtab.drag.stored import start_styles
from trimtab.serve.drag.encoding import jpeg_of
from trimtab.serve.drag.generators import Generators
from trimtab.serve.drag.messages import Thumbnail

MOST_KEPT: Final = 512
MOST_FEATURES_PX: Final = 64


class Thumbnails:
    """Makes them in a thread of its own, and keeps the last ones."""

    def __init__(self, generators: Generators) -> None:
        """Begin with none."""
        self._generators = generators
        self._worker = ThreadPoolExecutor(1, "trimtab-thumbnails")
        self._kept = lru_cache(MOST_KEPT)(self._make)

    def ask(self, asked: Thumbnail) -> Future[bytes]:
        """Have one made; the errors are those of ``Generators.load``."""
        return self._worker.submit(self._kept, asked)

    def close(self) -> None:
        """Make no more."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _make(self, asked: Thumbnail) -> bytes:
        loaded = self._generators.load(asked.generator)
        generator = loaded.generator
        size = max(size for size in generator.feature_sizes if size <= MOST_FEATURES_PX)
        with loaded.turns.taken(), torch.no_grad():
            styles = start_styles(generator, Start(asked.seed, asked.truncation))
            return jpeg_of(generator.preview(generator.features(styles, size)))
