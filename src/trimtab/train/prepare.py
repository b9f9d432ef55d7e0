"""From a request to the things a run works on: examples, a frozen network, and what steers it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch

from trimtab.core.errors import RangeError
from trimtab.core.memory import give_back_when_freed
from trimtab.models.attention import use_own_attention
from trimtab.models.config import read_model_config
from trimtab.models.language_model import LanguageModel
from trimtab.models.load import Quantization, load_network
from trimtab.nn.freeze import freeze
from trimtab.nn.fuse import fuse
from trimtab.nn.lora import LoraSettings, add_lora
from trimtab.store.bitsandbytes import stored_kind
from trimtab.train.data import Batches, Conversation, Example, encode, encode_seq2seq, read_rows, split
from trimtab.train.finite import refuse_non_finite_base
from trimtab.train.request import TrainRequest
from trimtab.train.settings import TrainSettings


@dataclass(frozen=True)
class TrainingData:
    """Examples to learn from and to be judged by.

    Attributes:
        train: examples to learn from.
        held_out: examples never learned from.
        sha256: of the source's bytes.
        notes: sentences about what was read, cut and skipped.
        pad_id: the token that fills short rows.
        questions: what a person asked last in each held-out row, by place; not where several rows stand at one.
    """

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    sha256: str
    notes: tuple[str, ...]
    pad_id: int
    questions: Mapping[str, str]

    def batches(self, request: TrainRequest) -> Batches:
        """Give the endless stream of batches of a run."""
        return Batches(
            self.train,
            batch_size=request.settings.batch_size,
            settings=request.data_settings(),
            pad_id=self.pad_id,
            seed=request.settings.seed,
        )


def read_data(request: TrainRequest, tokenizer: Any) -> TrainingData:
    """Read, check, encode and split the data.

    Raises:
        DataError: rows cannot be used; every one is named.
    """
    settings = request.data_settings()
    rows = read_rows(request.data, on_bad_row=settings.on_bad_row)
    seq2seq = bool(read_model_config(request.model).get("is_encoder_decoder"))
    examples = (encode_seq2seq if seq2seq else encode)(rows, tokenizer, settings)
    train, held_out = split(examples, settings.eval_fraction, settings.seed)
    found = f"{len(rows)} rows of {rows.format} in {rows.source}: {len(train)} to learn, {len(held_out)} held out."
    notes = [found, *rows.notes, *examples.notes]
    if rows.skipped:
        notes.append(f"{rows.skipped} rows were skipped, the first because of: {rows.problems[0]}")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    asked, rows_at = {example.place for example in held_out}, Counter(row.place for row in rows)
    questions = {row.place: _question(row) for row in rows if row.place in asked and rows_at[row.place] == 1}
    return TrainingData(train, held_out, rows.sha256, tuple(notes), int(pad or 0), questions)


def _question(row: Conversation) -> str:
    """Give what stands before the first answer, in the person's own words; nothing for running text."""
    before = list(takewhile(lambda turn: turn.role != "assistant", row.turns))
    return before[-1].content if before else ""


def quantization_of(settings: TrainSettings) -> Quantization | None:
    """Give how the base is to be stored under a method."""
    if settings.method == "qlora":
        return Quantization(settings.quant_type, settings.block_size, settings.double)
    return Quantization("int8") if settings.method == "int8" else None


def base_storage(document: Mapping[str, Any], settings: TrainSettings) -> Quantization | None:
    """Give how the base lies in memory during a run: as its folder stores it, else as the method says.

    Args:
        document: the base's ``config.json``.
        settings: of the run.

    Raises:
        FormatError: the base is quantized in a way that is not known here.
        RangeError: full tuning was asked for on a quantized base.
    """
    stored = document.get("quantization_config")
    if stored is None:
        return quantization_of(settings)
    if settings.method == "full":
        raise RangeError("method = full needs a base that is not quantized. Use method = qlora on this folder.")
    kind, double = stored_kind(stored)
    return Quantization(kind, double=double)


def lora_of(settings: TrainSettings) -> LoraSettings:
    """Give the adapter's shape."""
    return LoraSettings(
        rank=settings.rank,
        alpha=settings.alpha,
        dropout=settings.dropout,
        targets=settings.targets,
        rank_stabilised=settings.rank_stabilised,
    )


def build_model(request: TrainRequest, device: torch.device) -> LanguageModel:
    """Load the network, frozen and quantized as the method says, and add what learns.

    Raises:
        FormatError: the folder is damaged, or quantized in a way that is not known here.
        RangeError: full tuning was asked for on a quantized folder.
        NonFiniteError: a weight of the base is NaN or infinite.
    """
    settings = request.settings
    document = read_model_config(request.model)
    storage = base_storage(document, settings)
    net = load_network(request.model, quantization=None if document.get("quantization_config") else storage).to(device)
    refuse_non_finite_base(net)
    freeze(net)
    if settings.method == "full":
        net.requires_grad_(True)
    else:
        add_lora(net, lora_of(settings))
    fuse(net)
    use_own_attention(net)
    if settings.gradient_checkpointing:
        recompute_activations(net)
    return LanguageModel(net)


def recompute_activations(net: Any) -> None:
    """Let every layer compute its activations again in the backward pass, and their memory go back when it is freed."""
    give_back_when_freed()
    options = {"use_reentrant": False}
    if hasattr(net, "activation_checkpointing_enable"):
        net.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        net.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
