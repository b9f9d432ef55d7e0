"""Everything a run must put down and take up again to continue to the same bits."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from trimtab.core.errors import CheckpointError, NonFiniteError
from trimtab.core.seeds import RandomState, put_state
from trimtab.models.language_model import LanguageModel
from trimtab.nn.freeze import trainable
from trimtab.optim import PagedAdamW
from trimtab.store.checkpoint import Kept, save
from trimtab.store.checkpoint_read import Loaded
from trimtab.train.resume import surroundings

BESIDES: Final = {"identity", "versions", "numbers"}
"""What a checkpoint's document holds besides the fields of ``RunState``."""


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
        failures: planned evaluations since then.
        evaluated: the step of the last evaluation; -1 before the first.
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
    evaluated: int = -1
    finished: str = ""


def save_state(
    folder: Path, state: RunState, model: LanguageModel, optimizer: PagedAdamW, *, identity: dict[str, str], keep: int
) -> Path:
    """Write a checkpoint: weights that learn, optimizer, generators, cursor and identity.

    Raises:
        NonFiniteError: a weight or a part of the optimizer's state is NaN or infinite; nothing is written.
        CheckpointError: the disk refused.
    """
    assert state.random is not None
    weights = {name: parameter.detach() for name, parameter in trainable(model.net).items()}
    refuse_non_finite_weights(weights)
    moments = optimizer.tensors()
    refuse_non_finite_state(moments)
    document = {key: value for key, value in asdict(state).items() if key != "random"}
    document["best_loss"] = None if math.isinf(state.best_loss) else state.best_loss
    document |= {"identity": identity, "versions": surroundings(), "numbers": state.random.numbers}
    tensors = {"weights": weights, "optimizer": moments, "random": state.random.tensors}
    return save(folder, state.step, tensors, {"state": document}, kept=Kept(keep, (state.best_step,)))


def saved_document(loaded: Loaded) -> dict[str, Any]:
    """Give what a checkpoint says about its run: the fields of ``RunState``, and what the run was made of.

    Raises:
        CheckpointError: something is missing, or stands there besides; nothing is begun afresh unasked.
    """
    document = loaded.document("state")
    found = document.keys() if isinstance(document, dict) else set()
    expected = {field.name for field in fields(RunState)} - {"random"} | BESIDES
    if found != expected:
        differing = ", ".join(sorted(found ^ expected))
        raise CheckpointError(
            f"{loaded.path} was written by another version of trimtab (differing: {differing}). "
            "Continue with that version, or choose another --out."
        )
    return dict(document)


def restore_state(loaded: Loaded, model: LanguageModel, optimizer: PagedAdamW) -> RunState:
    """Take up a checkpoint; whatever it lacks is refused, never begun afresh.

    Raises:
        CheckpointError: a part is missing or does not fit this network.
    """
    document = saved_document(loaded)
    random = RandomState(loaded.tensors("random"), document["numbers"])
    _restore_weights(loaded, model)
    optimizer.load_tensors(loaded.tensors("optimizer"))
    put_state(random)
    values = {key: value for key, value in document.items() if key not in BESIDES}
    best = values.pop("best_loss")
    return RunState(**values, random=random, best_loss=math.inf if best is None else best)


def _restore_weights(loaded: Loaded, model: LanguageModel) -> None:
    weights, learning = loaded.tensors("weights"), trainable(model.net)
    found, expected = ({name: tuple(t.shape) for name, t in tensors.items()} for tensors in (weights, learning))
    if found != expected:
        raise CheckpointError(f"{loaded.path}: its weights are not those of this network. Choose another --out.")
    with torch.no_grad():
        for name, parameter in learning.items():
            parameter.copy_(weights[name])


def refuse_non_finite_weights(weights: dict[str, Tensor]) -> None:
    """Insist that every weight is a number.

    Raises:
        NonFiniteError: one is not; the message names it.
    """
    for name, weight in weights.items():
        if not bool(torch.isfinite(weight).all()):
            raise NonFiniteError(f"weight {name} is no longer finite. Lower lr, or set clip_norm.")


def refuse_non_finite_state(moments: dict[str, Tensor]) -> None:
    """Insist that every average and scale of the optimizer is a number.

    Raises:
        NonFiniteError: one is not; the message names it.
    """
    for name, part in moments.items():
        if part.is_floating_point() and not bool(torch.isfinite(part).all()):
            raise NonFiniteError(f"the optimizer's {name} is not finite. Set clip_norm, or lower lr.")
