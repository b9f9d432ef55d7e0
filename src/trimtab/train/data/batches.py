"""From examples to batches, in an order that a stopped run can take up again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import torch

from trimtab.core.errors import CheckpointError, RangeError
from trimtab.train.data.batch import Batch, collate, collate_packed
from trimtab.train.data.encode import Example
from trimtab.train.data.isolation import Isolation, computing_dtype, isolation, with_mask
from trimtab.train.data.order import epoch_order, pack
from trimtab.train.data.settings import DataSettings


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
        self.isolation: Isolation = "positions"
        self.mask_dtype = torch.float32
        self.epoch = self.position = 0
        self._order = self._batches_of(0)

    def keep_apart(self, network: torch.nn.Module) -> None:
        """Make packed batches such that this network lets no example see another; nothing to do where not packed.

        Raises:
            UsageError: the network cannot do it.
        """
        if self.settings.packing:
            self.isolation, self.mask_dtype = isolation(network), computing_dtype(network)

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
            batch = collate_packed(windows, pad_id=self.pad_id)
            return with_mask(batch, dtype=self.mask_dtype) if self.isolation == "mask" else batch
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
