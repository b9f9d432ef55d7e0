"""What steers a frozen network: freezing, 4-bit linear layers, low-rank adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.nn.freeze import freeze, trainable
from trimtab.nn.linear import QuantizedLinear, quantize_linears
from trimtab.nn.lora import LoraSettings, activate, add_lora, remove_lora

if TYPE_CHECKING:
    from trimtab.store.adapter import load_adapter, save_adapter

__all__ = [
    "LoraSettings",
    "QuantizedLinear",
    "activate",
    "add_lora",
    "freeze",
    "load_adapter",
    "quantize_linears",
    "remove_lora",
    "save_adapter",
    "trainable",
]

_FILES = ("load_adapter", "save_adapter")


def __getattr__(name: str) -> Any:
    """Offer an adapter's files beside the adapter: the one look upwards, taken only when somebody asks."""
    if name in _FILES:
        from trimtab.store import adapter

        return getattr(adapter, name)
    raise AttributeError(f"module 'trimtab.nn' has no attribute {name!r}. It has: {', '.join(__all__)}.")
