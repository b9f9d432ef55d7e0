"""Engines on tiny networks, shared by the tests of the engine."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import nn

import tiny
from needs import need
from trimtab.models.decoder import Decoder
from trimtab.models.llama.decoder import LlamaDecoder
from trimtab.models.llama.family import missing_code
from trimtab.models.transformers_decoder import TransformersDecoder
from trimtab.nn.lora import LoraSettings, activate, add_lora
from trimtab.text.engine import Answer, Engine, Request, Sampling

ADAPTERS = ("first", "second")
MAMBA = {"state_size": 8}
FAMILIES = ["llama", "gemma2", "mamba", "lean"]
REWINDABLE = [family for family in FAMILIES if family in ("llama", "lean")]


def network(family: str = "llama") -> nn.Module:
    """Build a network: that of "llama" and "lean" has two adapters, "gemma2" slides, "mamba" recurs."""
    if family == "mamba":
        return tiny.causal("mamba", **MAMBA)
    if family == "gemma2":
        return tiny.FAMILIES["gemma2"](sliding_window=6)
    net = tiny.llama()
    for name in ADAPTERS:
        add_lora(net, LoraSettings(rank=4), adapter=name)
        tiny.tune(net)
    activate(net, None)
    return net


@cache
def decoder(family: str = "llama") -> Decoder:
    """Give a decoder of the network; "lean" is the compiled one, all others are transformers'."""
    if family == "lean":
        need(missing_code() is None, "The compiled decoder", "Install with a C compiler on a processor with AVX2.")
    net = network(family)
    return LlamaDecoder(net) if family == "lean" else TransformersDecoder(net)


@cache
def tokenizer() -> Any:
    """Give the tiny tokenizer."""
    return tiny.tokenizer()


def engine(family: str = "llama", **options: Any) -> Engine:
    """Give a new engine; options as of ``Engine``, but no token ends an answer unless it is named."""
    return Engine(decoder(family), tokenizer(), **({"ends": ()} | options))


def alone(request: Request, family: str = "llama") -> Answer:
    """Answer a request with nothing beside, before or after it."""
    (answer,) = engine(family, batch=1, cache_bytes=0, chunk=10_000).run_all([request])
    return answer


def prompt(length: int, *, seed: int = 1) -> tuple[int, ...]:
    """Draw a prompt without special tokens."""
    ordinary = tiny.vocabulary_size() - len(tiny.SPECIALS)
    return tuple(token % ordinary for token in tiny.token_ids(1, length, seed=seed)[0].tolist())


def request(length: int = 9, *, seed: int = 1, adapter: str | None = None, **sampling: Any) -> Request:
    """Give a request with a random prompt; more arguments go to ``Sampling``."""
    return Request(prompt(length, seed=seed), Sampling(**({"max_tokens": 8} | sampling)), adapter)
