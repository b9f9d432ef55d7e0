"""Everything a run must put down and take up again to continue to the same bits."""

from __future__ import annotations

import math
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import trimtab
from trimtab.core.errors import CheckpointError, NonFiniteError
from trimtab.core.seeds import RandomState, put_state
from trimtab.models.language_model import LanguageModel
from trimtab.nn.freeze import trainable
from trimtab.optim import PagedAdamW
from trimtab.store.checkpoint import Loaded, save


@dataclass
class RunState:
    """Where a run stands.

    Attributes:
        step: optimizer steps done.
        elapsed_s: seconds spent on them, over all parts of the run.
        tokens: tokens read.
        cursor: place in the stream of batches.
        random: state of every generator, at the end of ``step``.
        loss: last training loss.
        eval_before: held-out loss of the untouched base.
        eval_loss: last held-out loss.
        best_loss: lowest held-out loss.
        best_step: the step that reached it.
        failures: evaluations since then.
        finished: why the run ended; empty while it goes on.
    """

    step: int = 0
    elapsed_s: float = 0.0
    tokens: int = 0
    cursor: dict[str, Any] = field(default_factory=dict)
    random: RandomState | None = None
    loss: float | None = None
    eval_before: float | None = None
    eval_loss: float | None = None
    best_loss: float = math.inf
    best_step: int = 0
    failures: int = 0
    finished: str = ""


def versions() -> dict[str, str]:
    """Name the software a run depends on."""
    import transformers

    return {
        "trimtab": trimtab.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def save_state(
    folder: Path, state: RunState, model: LanguageModel, optimizer: PagedAdamW, *, identity: dict[str, str], keep: int
) -> Path:
    """Write a checkpoint: weights that learn, optimizer, generators, cursor and identity.

    Raises:
        NonFiniteError: a weight is NaN or infinite; nothing is written.
        CheckpointError: the disk refused.
    """
    assert state.random is not None
    weights = {name: parameter.detach() for name, parameter in trainable(model.net).items()}
    refuse_non_finite_weights(weights)
    document = {key: value for key, value in asdict(state).items() if key != "random"}
    document["best_loss"] = None if math.isinf(state.best_loss) else state.best_loss
    document |= {"identity": identity, "versions": versions(), "numbers": state.random.numbers}
    tensors = {"weights": weights, "optimizer": optimizer.tensors(), "random": state.random.tensors}
    return save(folder, state.step, tensors, {"state": document}, keep=keep)


def restore_state(loaded: Loaded, model: LanguageModel, optimizer: PagedAdamW) -> RunState:
    """Take up a checkpoint; whatever it lacks is refused, never begun afresh.

    Raises:
        CheckpointError: a part is missing or does not fit this network.
    """
    document = loaded.document("state")
    weights, learning = loaded.tensors("weights"), trainable(model.net)
    if weights.keys() != learning.keys():
        raise CheckpointError(f"{loaded.path}: its weights are not those of this network. Choose another --out.")
    with torch.no_grad():
        for name, parameter in learning.items():
            parameter.copy_(weights[name])
    optimizer.load_tensors(loaded.tensors("optimizer"))
    random = RandomState(loaded.tensors("random"), document.pop("numbers"))
    put_state(random)
    for key in ("identity", "versions"):
        document.pop(key)
    best = document.pop("best_loss")
    return RunState(**document, random=random, best_loss=math.inf if best is None else best)


def refuse_non_finite_weights(weights: dict[str, Tensor]) -> None:
    """Insist that every weight is a number.

    Raises:
        NonFiniteError: one is not; the message names it.
    """
    for name, weight in weights.items():
        if not bool(torch.isfinite(weight).all()):
            raise NonFiniteError(
                f"weight {name} is no longer finite. Lower lr, or set clip_norm; see the last checkpoint."
            )
