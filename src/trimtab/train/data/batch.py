"""Tensors for one forward pass, made from examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trimtab.train.data.encode import Example

NOT_TRAINED = -100
"""The label of a token that the loss passes over; PyTorch's and transformers' own."""


@dataclass(frozen=True)
class Batch:
    """Tensors for one forward pass.

    Attributes:
        input_ids: padded on the right.
        labels: the ids to be learnt at their own positions (a causal network shifts them), ``NOT_TRAINED`` elsewhere.
            Of an encoder-decoder network: what the decoder writes.
        attention_mask: 1 for tokens, 0 for padding; None for packed windows, or what ``isolation.with_mask`` gives.
        position_ids: for packed windows only, beginning again at 0 with each example; see ``isolation``.
        places: the rows of each line of the batch, as ``file:line``; several, joined by a comma, when packed.
    """

    input_ids: Int[Tensor, "batch time"]
    labels: Int[Tensor, "batch target_time"]
    attention_mask: Int[Tensor, "batch time"] | Float[Tensor, "batch 1 time time"] | None
    position_ids: Int[Tensor, "batch time"] | None
    places: tuple[str, ...]

    def to(self, device: torch.device | str) -> Batch:
        """Give the same batch on a device."""
        mask, positions = self.attention_mask, self.position_ids
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            labels=self.labels.to(device),
            attention_mask=None if mask is None else mask.to(device),
            position_ids=None if positions is None else positions.to(device),
        )

    def inputs(self) -> dict[str, Any]:
        """Give the keyword arguments of a transformers network, labels apart; no cache, which training cannot use."""
        given: dict[str, Any] = {"input_ids": self.input_ids, "use_cache": False}
        if self.attention_mask is not None:
            given["attention_mask"] = self.attention_mask
        if self.position_ids is not None:
            given["position_ids"] = self.position_ids
        return given

    @property
    def trained_tokens(self) -> int:
        """Count the labels that the loss is taken over."""
        return int((self.labels != NOT_TRAINED).sum())

    @property
    def tokens(self) -> int:
        """Count the positions that are read; padding is not among them, but for that at the end of packed windows."""
        if self.position_ids is not None or self.attention_mask is None:
            return self.input_ids.numel()
        return int(self.attention_mask.sum())


def collate(examples: Sequence[Example], *, pad_id: int) -> Batch:
    """Put examples one below the other, padded on the right."""
    learnt = [example.target_ids if example.target_ids is not None else _labels(example) for example in examples]
    return Batch(
        input_ids=_filled([example.input_ids for example in examples], pad_id),
        labels=_filled(learnt, NOT_TRAINED),
        attention_mask=_filled([[1] * len(example.input_ids) for example in examples], 0),
        position_ids=None,
        places=tuple(example.place for example in examples),
    )


def collate_packed(windows: Sequence[Sequence[Example]], *, pad_id: int) -> Batch:
    """Put the examples of each window one behind the other; the padding at the end counts as one more example."""
    longest = max(sum(map(len, window)) for window in windows)
    positions = []
    for window in windows:
        sizes = [len(example) for example in window]
        positions.append([n for size in [*sizes, longest - sum(sizes)] for n in range(size)])
    return Batch(
        input_ids=_filled([[i for example in window for i in example.input_ids] for window in windows], pad_id),
        labels=_filled([[i for example in window for i in _labels(example)] for window in windows], NOT_TRAINED),
        attention_mask=None,
        position_ids=torch.tensor(positions),
        places=tuple(", ".join(example.place for example in window) for window in windows),
    )


def _labels(example: Example) -> list[int]:
    """Give the ids that are learnt; never the first, which nothing comes before (packed: only another example)."""
    pairs = zip(example.input_ids, example.trained, strict=True)
    labels = [token if trained else NOT_TRAINED for token, trained in pairs]
    return [NOT_TRAINED, *labels[1:]]


def _filled(lines: Sequence[Sequence[int]], filler: int) -> Int[Tensor, "batch time"]:
    longest = max(map(len, lines))
    return torch.tensor([[*line, *[filler] * (longest - len(line))] for line in lines])
