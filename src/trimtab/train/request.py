"""What a training run is asked to do, and the proof that a continued run is the same one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import UsageError
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
        questions: prompts answered before and after, for the report.
    """

    model: Path
    data: str
    out: Path
    settings: TrainSettings
    model_name: str = ""
    device: str = "auto"
    tensorboard: bool = False
    questions: tuple[str, ...] = field(default=())

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
            eval_fraction=s.eval_fraction,
            seed=s.seed,
        )


def identity(settings: TrainSettings, *, data_sha256: str, model_sha256: str, device: str) -> dict[str, str]:
    """Give what must be the same for a run to be continued.

    Settings that cannot change what was trained so far (time limits, how often to save) are left out.
    """
    values: dict[str, Any] = asdict(settings)
    for name in FREE_TO_CHANGE:
        values.pop(name)
    if settings.schedule == "constant":
        for name in FREE_UNDER_CONSTANT_SCHEDULE:
            values.pop(name)
    return {key: json.dumps(value) for key, value in values.items()} | {
        "data": data_sha256,
        "model": model_sha256,
        "device": device,
    }


def refuse_other_run(mine: Mapping[str, str], saved: Mapping[str, str], out: Path) -> None:
    """Insist that a folder's checkpoints belong to this run.

    Raises:
        UsageError: they do not; the message names what differs.
    """
    differing = [key for key in sorted(mine.keys() | saved.keys()) if mine.get(key) != saved.get(key)]
    if differing:
        key = differing[0]
        more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        raise UsageError(
            f"{out} holds a run with another {key}: {saved.get(key)} there, {mine.get(key)} now{more}. "
            "Put it back to continue that run, or choose another --out."
        )


def file_sha256(paths: list[Path]) -> str:
    """Hash files in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
