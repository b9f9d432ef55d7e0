"""How much disk a run will take, asked for before it begins."""

from __future__ import annotations

from pathlib import Path

from trimtab.models.language_model import LanguageModel
from trimtab.nn.freeze import trainable
from trimtab.optim.layout import kind_of, state_bytes
from trimtab.store.checkpoint import require_free
from trimtab.train.settings import TrainSettings

SMALL_FILES_BYTES = 1 << 20
"""Random states, cursor, manifest, metrics and the report."""


def checkpoint_bytes(model: LanguageModel, settings: TrainSettings) -> int:
    """Estimate the size of one checkpoint from what learns."""
    learning = trainable(model.net).values()
    sizes = [parameter.numel() for parameter in learning]
    state = sum(state_bytes([size], kind_of(settings.optimizer_bits, size)) for size in sizes)
    return sum(parameter.nbytes for parameter in learning) + state + SMALL_FILES_BYTES


def require_space(model: LanguageModel, settings: TrainSettings, folder: Path) -> None:
    """Insist on room for the checkpoints kept, the best one, the one being written, and the result.

    Args:
        model: with what learns.
        settings: how many checkpoints are kept.
        folder: holds the checkpoints; what lies there already counts as found.

    Raises:
        ResourceError: there is less; the message says how much is needed.
    """
    one = checkpoint_bytes(model, settings)
    present = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
    needed = (settings.keep + 3) * one + min(settings.optimizer_budget, 1) * one
    require_free(folder, max(needed - present, 2 * one))
