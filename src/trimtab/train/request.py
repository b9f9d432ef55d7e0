"""What a training run is asked to do, and the proof that a continued run is the same one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import UsageError
from trimtab.models.config import CONFIG_NAME
from trimtab.models.save import TOKENIZER_FILES
from trimtab.store.durable import hash_files
from trimtab.store.safetensors import checkpoint_files
from trimtab.train.data import DataSettings
from trimtab.train.settings import TrainSettings

FREE_TO_CHANGE: Final = (
    "time_limit_s",
    "save_every",
    "keep",
    "eval_every",
    "eval_limit",
    "patience",
    "optimizer_budget",
)
FREE_UNDER_CONSTANT_SCHEDULE: Final = ("steps", "epochs")
MAX_NAMED: Final = 3


@dataclass(frozen=True)
class TrainRequest:
    """One run.

    Attributes:
        model: folder of the base model.
        data: a file of rows, or "hf:org/name".
        out: the run folder; made where it is absent, continued where it holds checkpoints.
        settings: how to train.
        model_name: what the person called the model.
        device: "auto", "cpu", "cuda", ...
        tensorboard: write TensorBoard event files beside metrics.jsonl.
        questions: held-out prompts answered before and after, for the report.
        answer_tokens: longest such answer in tokens.
    """

    model: Path
    data: str
    out: Path
    settings: TrainSettings
    model_name: str = ""
    device: str = "auto"
    tensorboard: bool = False
    questions: int = 3
    answer_tokens: int = 64

    def data_settings(self) -> DataSettings:
        """Give the part of the settings that concerns the data."""
        s = self.settings
        return DataSettings(
            max_length=s.max_length,
            source_max_length=s.source_max_length or None,
            target_max_length=s.target_max_length or None,
            loss_on=s.loss_on,
            packing=s.packing,
            group_by_length=s.group_by_length,
            on_bad_row=s.on_bad_row,
            truncation=s.truncation,
            eval_fraction=s.eval_fraction,
            seed=s.seed,
        )


def identity(request: TrainRequest, *, data_sha256: str, device: str) -> dict[str, str]:
    """Give what must be the same for a run to be continued.

    Settings that cannot change what was trained so far (time limits, how often to save) are left out.
    """
    values: dict[str, Any] = asdict(request.settings)
    for name in FREE_TO_CHANGE:
        values.pop(name)
    if request.settings.schedule == "constant":
        for name in FREE_UNDER_CONSTANT_SCHEDULE:
            values.pop(name)
    weights = sorted({*checkpoint_files(request.model).values(), request.model / CONFIG_NAME})
    words = [path for name in TOKENIZER_FILES if (path := request.model / name).is_file()]
    return {key: json.dumps(value) for key, value in values.items()} | {
        "data": data_sha256,
        "model": hash_files(weights),
        "tokenizer": hash_files(words),
        "device": device,
    }


def refuse_other_run(mine: Mapping[str, str], saved: Mapping[str, str], out: Path) -> None:
    """Insist that a folder's checkpoints belong to this run.

    Raises:
        UsageError: they do not; the message names what differs.
    """
    differing = [key for key in sorted(mine.keys() | saved.keys()) if mine.get(key) != saved.get(key)]
    if differing:
        named = "; ".join(
            f"{key} was {_short(saved.get(key))}, now {_short(mine.get(key))}" for key in differing[:MAX_NAMED]
        )
        more = f"; and {len(differing) - MAX_NAMED} more" if len(differing) > MAX_NAMED else ""
        raise UsageError(
            f"{out} holds another run: {named}{more}. "
            "Put it back to continue that run, or choose another folder with --out."
        )


def _short(value: str | None) -> str:
    """Write a value as a person knows it; of a SHA-256 its beginning."""
    if value is None:
        return "absent"
    return f"sha256 {value[:12]}" if len(value) == 64 else value
