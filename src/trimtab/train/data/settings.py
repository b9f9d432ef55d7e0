"""How rows become batches: one frozen record, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from trimtab.core.errors import RangeError

OnBadRow: TypeAlias = Literal["stop", "skip"]
LossOn: TypeAlias = Literal["targets", "all", "last"]
Truncation: TypeAlias = Literal["cut", "stop"]

MOST_HELD_OUT: Final = 0.9
"""The largest part of the rows that may be held out."""

Tokenizer: TypeAlias = Any
"""A tokenizer of transformers, of any backend."""


@dataclass(frozen=True)
class DataSettings:
    """Everything that decides which tokens a model sees, in which order, and which of them it learns.

    Attributes:
        max_length: the window in tokens; no example and no packed window is longer.
        source_max_length: cap in tokens on what stands before the first trained token; None for no cap of its own.
        target_max_length: cap in tokens from the first trained token on; None for no cap of its own.
        loss_on: "targets" (every assistant turn), "last" (the last one) or "all" (every token).
        packing: put several short examples in one window, none seeing another.
        group_by_length: put examples of similar length in one batch.
        on_bad_row: "stop" lists every unusable row and trains nothing; "skip" leaves them out and counts them.
        truncation: a row beyond the window is cut at its right end ("cut") or is a bad row ("stop").
        eval_fraction: the part of the rows that is held out, from 0 to 0.9.
        seed: decides the order of examples and which are held out.

    Raises:
        RangeError: a value is not allowed.
    """

    max_length: int = 512
    source_max_length: int | None = None
    target_max_length: int | None = None
    loss_on: LossOn = "targets"
    packing: bool = False
    group_by_length: bool = True
    on_bad_row: OnBadRow = "stop"
    truncation: Truncation = "cut"
    eval_fraction: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name, least in (("max_length", 2), ("source_max_length", 1), ("target_max_length", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise RangeError(f"{name} = {value}: too short. Allowed: whole numbers from {least} tokens up.")
        for name, words in (("loss_on", LossOn), ("on_bad_row", OnBadRow), ("truncation", Truncation)):
            if getattr(self, name) not in get_args(words):
                raise RangeError(f"{name} = {getattr(self, name)!r}: unknown. Allowed: {', '.join(get_args(words))}.")
        if not 0 <= self.eval_fraction <= MOST_HELD_OUT:
            raise RangeError(
                f"eval_fraction = {self.eval_fraction}: allowed are numbers from 0 to {MOST_HELD_OUT}, as in 0.05."
            )
