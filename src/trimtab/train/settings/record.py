"""The settings of a training run: one frozen record."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from trimtab.core.errors import RangeError
from trimtab.optim.paged_state import SMALLEST_BUDGET_BYTES
from trimtab.train.data.settings import LossOn, OnBadRow, Truncation
from trimtab.train.settings.allowed import (
    CHOICES,
    RANGES,
    Method,
    QuantType,
    Schedule,
    check_choice,
    check_range,
    check_target,
)


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides the outcome of a run, besides the model and the data.

    Attributes:
        method: "qlora" (4-bit base), "lora" (base as stored), "int8" (8-bit base) or "full" (no adapter).
        steps: optimizer steps; 0 derives them from ``epochs``.
        epochs: passes over the data, used where ``steps`` is 0.
        batch_size: examples (or packed windows) a forward pass.
        accumulate: forward passes an optimizer step.
        max_length: longest example in tokens; longer ones are cut.
        source_max_length: longest prompt in tokens; 0 for no limit of its own.
        target_max_length: longest answer in tokens; 0 for no limit of its own.
        lr: peak learning rate.
        schedule: course of the learning rate after the warm-up.
        warmup_steps: steps over which it rises from 0.
        weight_decay: decoupled decay a step, times the learning rate.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        clip_norm: largest gradient norm; 0 for no clipping.
        rank: inner width of the adapter.
        alpha: strength of the adapter; the update is scaled by alpha / rank.
        dropout: probability of dropping an input of the adapter.
        targets: endings of layer names to adapt; empty for every linear layer but the head.
        rank_stabilised: scale by alpha / sqrt(rank).
        quant_type: code of the 4-bit base.
        double: quantize the scales of the 4-bit base too.
        block_size: weights per scale.
        optimizer_bits: 32 or 8 bits of optimizer state.
        optimizer_budget: bytes of optimizer state kept in memory, the rest paged out, 4096 or more; 0 for no limit.
        loss_on: "targets" (answers), "last" (the last answer) or "all" tokens.
        group_by_length: put examples of similar length into one batch.
        packing: put several examples into one window, none of which sees another.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them.
        eval_fraction: part of the data held out.
        eval_every: steps between evaluations; 0 for the end only.
        eval_limit: most held-out examples looked at.
        save_every: steps between checkpoints.
        keep: checkpoints kept.
        patience: evaluations without improvement after which the run stops; 0 to go on.
        time_limit_s: seconds after which the run stops; 0 for no limit.
        on_bad_row: "stop" or "skip" rows that cannot be used.
        truncation: "cut" rows longer than the window at their end, or "stop" for a list of them.
        seed: of everything that is drawn at random.
    """

    method: Method = "qlora"
    steps: int = 0
    epochs: float = 1.0
    batch_size: int = 4
    accumulate: int = 4
    max_length: int = 512
    source_max_length: int = 0
    target_max_length: int = 0
    lr: float = 2e-4
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    clip_norm: float = 0.3
    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = field(default=())
    rank_stabilised: bool = False
    quant_type: QuantType = "nf4"
    double: bool = True
    block_size: int = 64
    optimizer_bits: int = 32
    optimizer_budget: int = 0
    loss_on: LossOn = "targets"
    group_by_length: bool = True
    packing: bool = False
    gradient_checkpointing: bool = False
    eval_fraction: float = 0.05
    eval_every: int = 0
    eval_limit: int = 200
    save_every: int = 50
    keep: int = 2
    patience: int = 0
    time_limit_s: float = 0.0
    on_bad_row: OnBadRow = "stop"
    truncation: Truncation = "cut"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every range.

        Raises:
            RangeError: a value, or a combination of values, is not allowed.
        """
        for name in CHOICES:
            check_choice(name, getattr(self, name))
        for name in RANGES:
            check_range(name, getattr(self, name))
        for target in self.targets:
            check_target(target)
        for refused, message in self._combinations():
            if refused:
                raise RangeError(message)

    def _combinations(self) -> tuple[tuple[bool, str], ...]:
        """List what contradicts itself, and what to do about it."""
        return (
            (
                self.method == "full" and bool(self.targets or self.dropout),
                "method = full trains every weight: targets and dropout belong to adapters. Remove them.",
            ),
            (
                self.steps == 0 and self.epochs == 0,
                "steps = 0 and epochs = 0: nothing would be trained. Set one of them.",
            ),
            (
                0 < self.optimizer_budget < SMALLEST_BUDGET_BYTES,
                f"optimizer_budget = {self.optimizer_budget} holds no page. Allowed: 0 for no limit, or "
                f"{SMALLEST_BUDGET_BYTES} bytes and more.",
            ),
            (
                self.patience > 0 and self.eval_every == 0,
                f"patience = {self.patience} counts evaluations, but eval_every = 0 plans none. Set eval_every too.",
            ),
            (
                self.eval_every > 0 and self.eval_fraction == 0,
                f"eval_every = {self.eval_every}, but eval_fraction = 0 holds nothing out. Set eval_fraction too.",
            ),
        )

    def to_toml(self) -> str:
        """Write the settings as a TOML document that ``read_settings`` takes."""
        return "".join(f"{key} = {_toml(value)}\n" for key, value in asdict(self).items())


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
