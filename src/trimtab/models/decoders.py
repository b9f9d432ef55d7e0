"""Choosing the decoder of a model folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from trimtab.models.config import MAX_CONFIG_BYTES, read_model_config
from trimtab.models.decoder import Decoder
from trimtab.models.llama.decoder import LlamaDecoder
from trimtab.models.llama.family import missing_code, obstacle
from trimtab.models.llama.weights import HeadForm
from trimtab.models.load import Quantization, load_network
from trimtab.models.transformers_decoder import TransformersDecoder
from trimtab.nn.linear import set_exact
from trimtab.store.adapter import load_adapter
from trimtab.store.documents import read_object

_log = logging.getLogger("trimtab.models")

GENERATION_NAME: Final = "generation_config.json"


def load_decoder(
    folder: Path,
    *,
    adapters: Mapping[str, Path] | None = None,
    quantization: Quantization | None = None,
    exact: bool = False,
    head: HeadForm | None = None,
    device: torch.device | None = None,
) -> Decoder:
    """Load a model folder, ready to be run token by token.

    Args:
        folder: in transformers' layout.
        adapters: PEFT folders by the names under which states will be started.
        quantization: how to store the linear weights; None keeps them as they are.
        exact: float32 arithmetic throughout and the output head as it is stored; False rounds the activations of
            written tokens to 15 bits where they meet weights of 4 bits or a head of 8, and keeps what was read in 16.
        head: how the lean decoder holds the output head; "stored" where ``exact``, else "int8" in blocks of 32, where
            None. docs/benchmarks.md states what each changes.
        device: the CPU where None.

    Raises:
        MissingError: a file is absent.
        FormatError: a file is damaged, or an adapter does not fit.
        RangeError: no decoder can run such a network.
    """
    net = load_to_answer(folder, adapters=adapters, quantization=quantization, device=device)
    return decoder_of(net, exact=exact, head=head, name=folder.name)


def load_to_answer(
    folder: Path,
    *,
    adapters: Mapping[str, Path] | None = None,
    quantization: Quantization | None = None,
    device: torch.device | None = None,
) -> nn.Module:
    """Load a network and its adapters for ``decoder_of``, or to be run as it is where it is an encoder-decoder.

    Args:
        folder: as of ``load_decoder``, like all others.
        adapters: PEFT folders by name.
        quantization: of the linear weights.
        device: the CPU where None.

    Raises:
        MissingError: a file is absent.
        FormatError: a file is damaged, or an adapter does not fit.
    """
    place = device or torch.device("cpu")
    net = load_network(folder, quantization=quantization, frame=place.type == "cpu")
    for name, path in (adapters or {}).items():
        load_adapter(net, path, adapter=name)
    return net.to(place)


def decoder_of(
    net: nn.Module, *, exact: bool = False, head: HeadForm | None = None, name: str = "the model"
) -> Decoder:
    """Give the fastest decoder that runs a loaded network; says once where that is transformers' own.

    Args:
        net: causal, with all adapters that will be asked for.
        exact: as of ``load_decoder``.
        head: as of ``load_decoder``.
        name: how to call it.

    Raises:
        RangeError: no decoder can run such a network.
    """
    problem = obstacle(net) or missing_code()
    if problem is None:
        return LlamaDecoder(net, head=head or ("stored" if exact else "int8"), exact=exact)
    _log.warning("%s is run by transformers' own code, not by the compiled decoder: %s.", name, problem)
    return TransformersDecoder(set_exact(net, exact))


def end_tokens(folder: Path, tokenizer: Any) -> tuple[int, ...]:
    """Give every token that ends a model's answer: the tokenizer's own, and those its configs name.

    Args:
        folder: in transformers' layout.
        tokenizer: of the folder.

    Raises:
        MissingError: the folder has no config.json.
        FormatError: a config is damaged.
    """
    generation = _generation_config(folder / GENERATION_NAME)
    stated = [tokenizer.eos_token_id, generation.get("eos_token_id", read_model_config(folder).get("eos_token_id"))]
    flat = [token for value in stated for token in (value if isinstance(value, list) else [value])]
    return tuple(dict.fromkeys(token for token in flat if type(token) is int and token >= 0))


def _generation_config(path: Path) -> dict[str, Any]:
    return read_object(path, most_bytes=MAX_CONFIG_BYTES) if path.is_file() else {}
