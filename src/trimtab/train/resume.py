"""What a run finds in its folder when it begins: a checkpoint to go on from, and reasons to be careful."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

import torch

import trimtab
from trimtab.core.errors import CheckpointError
from trimtab.core.job import Note
from trimtab.kernels import ops
from trimtab.store.checkpoint_read import Loaded, newest_valid


def find_checkpoint(folder: Path) -> tuple[Loaded | None, list[Note]]:
    """Find the newest checkpoint that can be trusted, and say which newer ones cannot.

    Raises:
        CheckpointError: there are checkpoints, and every one of them is damaged; nothing is begun afresh unasked.
    """
    loaded, skipped = newest_valid(folder)
    if loaded is None and skipped:
        reasons = "; ".join(f"{bad.path.name}: {bad.reason}" for bad in skipped)
        raise CheckpointError(
            f"{folder}: every checkpoint is damaged ({reasons}). "
            "Restore one from a copy, or remove this folder to begin the run anew."
        )
    return loaded, [Note(f"{bad.path} is damaged and passed over: {bad.reason}.", "warning") for bad in skipped]


def surroundings() -> dict[str, str]:
    """Name what the bits of a run depend on besides its request: software, kernels and threads."""
    import transformers

    return {
        "trimtab": trimtab.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "kernels": ops.implementation("cpu", "auto"),
        "threads": str(torch.get_num_threads()),
    }


def changes_around(saved: Mapping[str, str]) -> list[Note]:
    """Warn where the software or the machine is no longer what a checkpoint was made with."""
    now = surroundings()
    changed = [f"{key} {saved.get(key)}, now {value}" for key, value in now.items() if saved.get(key) != value]
    if not changed:
        return []
    return [Note(f"begun with {'; '.join(changed)}: the run goes on, but not to the same last bits.", "warning")]
