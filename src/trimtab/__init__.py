"""Keep a large pretrained network frozen, in 4 bits where that serves, and steer it with something small.

Importing this loads neither torch nor transformers; they come with the first name that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    import torch

    from trimtab import nn, optim, quant
    from trimtab.quant import Kind

__version__ = "0.1.0"
__all__ = ["__version__", "load", "nn", "optim", "quant"]

_ROOMS = ("nn", "optim", "quant")


def load(
    model: str | Path,
    quantize: Kind | None = "nf4",
    *,
    adapter: str | Path | None = None,
    double: bool = True,
    block_size: int = 64,
    device: str = "auto",
) -> tuple[torch.nn.Module, Any]:
    """Load a language model, frozen, and its tokenizer: ``net, tokenizer = trimtab.load("smollm2")``.

    Args:
        model: a name in the store, a folder in transformers' layout, a .gguf file, or "hf:org/name".
        quantize: how to store the linear weights, see ``trimtab.quant``; None keeps them dense. A folder that is
            quantized already is taken as it is.
        adapter: PEFT folder to put on the network and make active.
        double: quantize the scales too (4-bit codes only).
        block_size: weights per scale; a power of two from 32 to 4096.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        The network of transformers, float32 where it is not quantized, in evaluation mode; and its tokenizer.

    Raises:
        MissingError: there is no such model or adapter; near names are given.
        RangeError: a setting is not allowed.
        FormatError: a file is damaged, or the adapter belongs to another model.
    """
    from trimtab.core.device import pick
    from trimtab.core.errors import RangeError, did_you_mean
    from trimtab.models.config import read_model_config
    from trimtab.models.load import Quantization, load_network
    from trimtab.models.tokenizer import read_tokenizer
    from trimtab.quant import KINDS
    from trimtab.store.adapter import load_adapter
    from trimtab.store.resolve import resolve

    if quantize is not None and quantize not in KINDS:
        raise RangeError(f"quantize={quantize!r}. {did_you_mean(quantize, KINDS)} None keeps the weights dense.")
    target = pick(device)
    folder = resolve(str(model))
    quantization = None
    if quantize is not None and "quantization_config" not in read_model_config(folder):
        quantization = Quantization(quantize, block_size, double)
    net = load_network(folder, quantization=quantization)
    if adapter is not None:
        load_adapter(net, adapter)
    return net.to(target), read_tokenizer(folder)


def __getattr__(name: str) -> ModuleType:
    """Import a room at its first use."""
    if name in _ROOMS:
        return importlib.import_module(f"trimtab.{name}")
    raise AttributeError(f"module 'trimtab' has no attribute {name!r}. It has: {', '.join(sorted(__all__))}.")
