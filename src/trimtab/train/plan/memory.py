"""Peak memory of a run, part by part, from a config and settings alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import nn

from trimtab.models.load import Quantization
from trimtab.nn.linear import linear_names
from trimtab.nn.loss import rows_of_a_chunk
from trimtab.optim.layout import bytes_per_weight
from trimtab.train.plan.phantom import (
    build,
    config_object,
    dress,
    saved_bytes,
    warm_tables,
    weight_bytes,
    with_layers,
)
from trimtab.train.prepare import base_storage
from trimtab.train.settings import TrainSettings

FLOAT_BYTES: Final = 4
TILE_BYTES: Final = 8 << 20
FULL_TUNING_BYTES: Final = 12
"""Bytes a parameter of 16-bit full tuning with Adam: weight 2, gradient 2, two float32 moments 8 (arXiv:2305.14314)."""


@dataclass(frozen=True)
class Place:
    """What a kind of device adds to a run's memory.

    Attributes:
        program_bytes: what the process needs before any weight is loaded.
        other_bytes: bytes an element of what is not quantized.
        gaps_share: memory that the allocator holds but cannot use between kept activations, as a share of them.
    """

    program_bytes: int
    other_bytes: int
    gaps_share: float


@dataclass(frozen=True)
class Sizes:
    """What the plan reads off a network without storage.

    Attributes:
        parameters: of the whole network, tied ones once.
        linear_parameters: in the linear layers that are quantized or adapted.
        head_parameters: in the output projection.
        adapter_parameters: that learn.
        parts: bytes by name of everything that stays in memory.
        saved: bytes kept between forward and backward pass for one micro-batch.
        working: bytes of the largest passing tensors.
        layers: how many blocks the network repeats.
    """

    parameters: int
    linear_parameters: int
    head_parameters: int
    adapter_parameters: int
    parts: Mapping[str, int]
    saved: int
    working: int
    layers: int


def measure_sizes(document: Mapping[str, Any], settings: TrainSettings, *, other_bytes: int = FLOAT_BYTES) -> Sizes:
    """Build the network without storage and count.

    Args:
        document: a ``config.json``.
        settings: of the run.
        other_bytes: bytes an element of what is not quantized: 4 on the CPU, 2 on a GPU.

    Raises:
        FormatError: the config describes no network that transformers knows, or weights stored in an unknown way.
        RangeError: full tuning was asked for on quantized weights.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    config, storage = config_object(document), base_storage(document, settings)
    warm_tables()
    with FakeTensorMode(allow_non_fake_inputs=True):
        net = build(config)
        parameters = sum(p.numel() for p in net.parameters())
        linear = _linear_parameters(net)
        head = cast(Any, net).get_output_embeddings().weight.numel()
        dress(net, storage, settings)
        parts = weight_bytes(net, FLOAT_BYTES if settings.method == "full" else other_bytes)
        saved = _saved(config, storage, settings)
        learning = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return Sizes(
        parameters=parameters,
        linear_parameters=linear,
        head_parameters=head,
        adapter_parameters=learning,
        parts=parts,
        saved=saved,
        working=_working(config, settings),
        layers=_layers(config),
    )


def parts_of(sizes: Sizes, settings: TrainSettings, place: Place) -> dict[str, int]:
    """Give every part of the peak in bytes.

    Args:
        sizes: from ``measure_sizes``.
        settings: of the run.
        place: where it runs.
    """
    state = math.ceil(sizes.adapter_parameters * bytes_per_weight(settings.optimizer_bits))
    resident = min(state, settings.optimizer_budget) if settings.optimizer_budget else state
    return {
        "program": place.program_bytes,
        **sizes.parts,
        "gradients": sizes.adapter_parameters * FLOAT_BYTES,
        "optimizer": resident,
        "activations": sizes.saved,
        "allocator's gaps": int(sizes.saved * place.gaps_share),
        "working buffers": sizes.working,
    }


def _linear_parameters(net: nn.Module) -> int:
    return sum(cast(nn.Linear, net.get_submodule(name)).weight.numel() for name in linear_names(net))


def _layers(config: Any) -> int:
    return int(getattr(config.get_text_config(), "num_hidden_layers", 1))


def _saved(config: Any, storage: Quantization | None, settings: TrainSettings) -> int:
    """Count what one layer keeps from networks of one and two, and extend to all of them."""
    counts = []
    for layers in (1, 2):
        net = dress(build(with_layers(config, layers)), storage, settings)
        batch, time, seq2seq = settings.batch_size, settings.max_length, bool(config.is_encoder_decoder)
        counts.append(saved_bytes(net, batch=batch, time=time, seq2seq=seq2seq))
    one_layer, depth = counts[1] - counts[0], _layers(config)
    if settings.gradient_checkpointing:
        carried = settings.batch_size * settings.max_length * config.get_text_config().hidden_size * FLOAT_BYTES
        return int(counts[0] + carried * depth)
    return counts[0] + one_layer * (depth - 1)


def _working(config: Any, settings: TrainSettings) -> int:
    """Bound the tensors that come and go: a chunk of logits, and the widest activation of a layer four times."""
    text = config.get_text_config()
    widest = max(int(getattr(text, name, 0) or 0) for name in ("intermediate_size", "hidden_size", "d_ff", "ffn_dim"))
    rows = min(settings.batch_size * settings.max_length, rows_of_a_chunk(text.vocab_size))
    logits = rows * text.vocab_size * FLOAT_BYTES
    gradients = 4 * settings.batch_size * settings.max_length * widest * FLOAT_BYTES
    tiles = TILE_BYTES * torch.get_num_threads()
    return int(logits + gradients + tiles)
