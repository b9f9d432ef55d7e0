"""Time of a step, from a few seconds of work with layers like the network's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from trimtab.models.language_model import hidden_states
from trimtab.models.load import Quantization
from trimtab.nn.loss import Head, target_cross_entropy
from trimtab.optim import PagedAdamW
from trimtab.train.plan.memory import Sizes
from trimtab.train.plan.phantom import build, config_object, dress, with_layers
from trimtab.train.prepare import base_storage, recompute_activations
from trimtab.train.settings import TrainSettings

LIMIT_S: Final = 10.0
SMALL_VOCABULARY: Final = 256
MOST_LAYER_BYTES: Final = 2 << 30
REPEATS: Final = 3


def seconds_a_step(document: Mapping[str, Any], settings: TrainSettings, sizes: Sizes) -> float | None:
    """Estimate the wall time of one optimizer step on this machine.

    A network of one and one of two layers, with random weights, run a real forward and backward pass; the difference
    is a layer. The head and the optimizer are timed by themselves.

    Returns:
        Seconds, or None where even one layer is too large to be tried within the limit.
    """
    config, storage = config_object(document), base_storage(document, settings)
    layer_parameters = sizes.linear_parameters // max(sizes.layers, 1)
    if layer_parameters * 4 > MOST_LAYER_BYTES:
        return None
    began = time.perf_counter()
    shape, scale = _affordable(settings, layer_parameters + sizes.head_parameters)
    config.vocab_size = SMALL_VOCABULARY
    config.pad_token_id = config.eos_token_id = config.bos_token_id = 0
    one, two = (_trial(with_layers(config, layers), storage, settings, shape) for layers in (1, 2))
    seconds = _alternate(one, two, began)
    layer = max(seconds[1] - seconds[0], 0.0)
    rest = max(seconds[0] - layer, 0.0)
    head = _head_seconds(document, sizes, shape)
    return ((rest + layer * sizes.layers + head) * scale) * settings.accumulate + _optimizer_seconds(sizes)


def _affordable(settings: TrainSettings, parameters: int) -> tuple[tuple[int, int], float]:
    """Choose a batch that can be tried in about a second, and how much smaller it is than the real one."""
    batch, length = settings.batch_size, settings.max_length
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    rate = 2 * 512**3 / _best(lambda: torch.mm(a, b))
    while 4 * parameters * batch * length / rate > LIMIT_S / 8 and batch > 1:
        batch = (batch + 1) // 2
    while 4 * parameters * batch * length / rate > LIMIT_S / 8 and length > 64:
        length //= 2
    return (batch, length), settings.batch_size * settings.max_length / (batch * length)


def _trial(
    config: Any, storage: Quantization | None, settings: TrainSettings, shape: tuple[int, int]
) -> Callable[[], None]:
    """Build a small real network and give a function that runs one forward and backward pass of it."""
    net = dress(build(config), storage, settings)
    if settings.gradient_checkpointing:
        recompute_activations(net)
    ids = torch.zeros(shape, dtype=torch.long)
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if config.is_encoder_decoder else {})

    def run() -> None:
        hidden_states(net, inputs).sum().backward()  # type: ignore[no-untyped-call]

    return run


def _alternate(one: Callable[[], None], two: Callable[[], None], began: float) -> tuple[float, float]:
    """Time both in turns, so that a passing disturbance meets both."""
    one()
    two()
    times: tuple[list[float], list[float]] = ([], [])
    while len(times[0]) < REPEATS or time.perf_counter() - began < LIMIT_S / 3:
        for run, found in zip((one, two), times, strict=True):
            found.append(_seconds(run))
        if time.perf_counter() - began > LIMIT_S * 0.6:
            break
    return sorted(times[0])[len(times[0]) // 2], sorted(times[1])[len(times[1]) // 2]


def _head_seconds(document: Mapping[str, Any], sizes: Sizes, shape: tuple[int, int]) -> float:
    """Time the loss on a part of the vocabulary and of the rows, and extend it."""
    vocabulary = int(document.get("vocab_size") or SMALL_VOCABULARY)
    width = max(1, sizes.head_parameters // vocabulary)
    rows, words = min(shape[0] * shape[1], 256), min(vocabulary, 32_768)
    hidden: Tensor = torch.randn(rows, width, requires_grad=True)
    head, targets = Head(torch.randn(words, width) * 0.02), torch.zeros(rows, dtype=torch.long)
    once = _best(lambda: target_cross_entropy(hidden, targets, head))
    return once * (shape[0] * shape[1] / rows) * (vocabulary / words)


def _optimizer_seconds(sizes: Sizes) -> float:
    count = min(sizes.adapter_parameters, 4_000_000)
    parameter = nn.Parameter(torch.zeros(max(count, 1)))
    parameter.grad = torch.ones_like(parameter)
    optimizer = PagedAdamW([parameter])
    return _best(optimizer.step) * sizes.adapter_parameters / max(count, 1)


def _best(call: Callable[[], Any]) -> float:
    call()
    return min(_seconds(call) for _ in range(REPEATS))


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
