"""From examples to batches of tensors, in an order that a stopped run can take up again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trimtab.core.errors import CheckpointError, RangeError
from trimtab.train.data.encode import Example
from trimtab.train.data.order import epoch_order, pack
from trimtab.train.data.settings import DataSettings

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


class Batches(Iterator[Batch]):
    """An endless stream of batches: each epoch gives every example once, in an order that only the seed decides.

    ``state`` is a cursor into that stream: a stream made from the same examples and put there with ``load_state``
    gives exactly the batches that the first would have given next.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int,
        settings: DataSettings | None = None,
        pad_id: int = 0,
        seed: int | None = None,
    ) -> None:
        """Lay the first epoch out.

        Args:
            examples: from ``encode`` or ``split``; all for a causal network or all for an encoder-decoder.
            batch_size: examples a batch; with ``settings.packing``, windows a batch.
            settings: window, packing and grouping.
            pad_id: the token that fills lines up; never seen and never learnt.
            seed: of the order; the settings' own where None.

        Raises:
            RangeError: there are no examples, or the batch size is below 1.
        """
        if not examples or batch_size < 1:
            raise RangeError(f"{len(examples)} examples in batches of {batch_size}: at least 1 of each is needed.")
        self.settings = settings or DataSettings()
        if self.settings.packing and any(example.target_ids is not None for example in examples):
            raise RangeError("packing = true: encoder-decoder networks cannot be packed. Set packing = false.")
        self.examples, self.batch_size, self.pad_id = examples, batch_size, pad_id
        self.seed = self.settings.seed if seed is None else seed
        self._windows = self._laid_out()
        self.epoch = self.position = 0
        self._order = self._batches_of(0)

    def _laid_out(self) -> list[list[int]]:
        lengths = [len(example) for example in self.examples]
        if self.settings.packing:
            return pack(lengths, self.settings.max_length)
        return [[index] for index in range(len(lengths))]

    def _batches_of(self, epoch: int) -> list[list[int]]:
        lengths = [sum(len(self.examples[n]) for n in window) for window in self._windows]
        grouped = self.settings.group_by_length and not self.settings.packing
        return epoch_order(lengths, self.batch_size, grouped=grouped, seed=f"{self.seed}:{epoch}")

    @property
    def batches_per_epoch(self) -> int:
        """Count the batches of an epoch, the same for each; the last may be smaller."""
        return -(-len(self._windows) // self.batch_size)

    def __next__(self) -> Batch:
        """Give the next batch, going on to the next epoch after the last."""
        if self.position == len(self._order):
            self.epoch, self.position = self.epoch + 1, 0
            self._order = self._batches_of(self.epoch)
        chosen = [[self.examples[n] for n in self._windows[w]] for w in self._order[self.position]]
        self.position += 1
        return self._collated(chosen)

    def _collated(self, windows: list[list[Example]]) -> Batch:
        if self.settings.packing:
            return collate_packed(windows, pad_id=self.pad_id)
        return collate([window[0] for window in windows], pad_id=self.pad_id)

    def state(self) -> dict[str, Any]:
        """Give the cursor as JSON values."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "fingerprint": self.fingerprint(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go to where another stream of the same examples stood.

        Raises:
            CheckpointError: the cursor belongs to other examples, another seed or another batch size.
        """
        own = self.state()
        for name in ("seed", "batch_size", "fingerprint"):
            if state.get(name) != own[name]:
                raise CheckpointError(
                    f"the run was begun with {name} = {state.get(name)!r}, now it is {own[name]!r}. "
                    "Continue with the same data and settings, or begin anew in another folder."
                )
        epoch, position = int(state["epoch"]), int(state["position"])
        if epoch < 0 or not 0 <= position <= self.batches_per_epoch:
            raise CheckpointError(
                f"epoch {epoch}, batch {position}: there is no such place; the checkpoint is damaged."
            )
        self.epoch, self.position = epoch, position
        self._order = self._batches_of(epoch)

    def fingerprint(self) -> str:
        """Hash what decides the stream: every token, what is learnt, and how windows are laid out."""
        if not hasattr(self, "_fingerprint"):
            digest = sha256(f"{self.settings.packing} {self.settings.group_by_length}".encode())
            digest.update(repr(self._windows if self.settings.packing else len(self._windows)).encode())
            for example in self.examples:
                digest.update(repr((example.input_ids, example.target_ids)).encode() + bytes(example.trained))
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def in_order(examples: Sequence[Example], *, batch_size: int, pad_id: int = 0) -> Iterator[Batch]:
    """Give every example once, in order, unpacked: for evaluation."""
    for start in range(0, len(examples), batch_size):
        yield collate(examples[start : start + batch_size], pad_id=pad_id)


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
