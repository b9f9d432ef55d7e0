"""From folders to a service that is ready to answer."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from trimtab.models.decoders import end_tokens, load_decoder
from trimtab.models.load import Quantization
from trimtab.models.tokenizer import read_tokenizer
from trimtab.serve.model_names import ModelNames
from trimtab.serve.service import QUEUE, Service
from trimtab.serve.speech import Speech
from trimtab.text.engine import Engine
from trimtab.text.engine.engine import BATCH, CACHE_BYTES


@dataclass(frozen=True)
class Capacity:
    """How much a service takes on.

    Attributes:
        batch: most answers in one pass.
        queue: most answers that wait or run.
        cache_bytes: most memory of prompts that are remembered.
    """

    batch: int = BATCH
    queue: int = QUEUE
    cache_bytes: int = CACHE_BYTES


def load_service(
    folder: Path,
    *,
    adapters: Mapping[str, Path],
    quantization: Quantization | None,
    capacity: Capacity,
    name: str | None = None,
    device: torch.device | None = None,
) -> Service:
    """Load a model and its adapters.

    Args:
        folder: in transformers' layout.
        adapters: folders in PEFT's layout, by name.
        quantization: how to store the linear weights; None keeps them as they are.
        capacity: of the service.
        name: of the model; the folder's where None.
        device: the CPU where None.

    Raises:
        MissingError: a file is absent.
        FormatError: a file is damaged, or an adapter does not fit.
        RangeError: no decoder can run such a network, or the capacity is not allowed.
    """
    tokenizer = read_tokenizer(folder)
    decoder = load_decoder(folder, adapters=adapters, quantization=quantization, device=device)
    engine = Engine(
        decoder,
        tokenizer,
        ends=end_tokens(folder, tokenizer),
        batch=capacity.batch,
        cache_bytes=capacity.cache_bytes,
    )
    gc.freeze()  # the network lives as long as the process; the collector need not walk it for every token
    names = ModelNames(name or folder.resolve().name, list(adapters))
    return Service(engine, Speech.of(tokenizer, decoder), names, queue=capacity.queue)
