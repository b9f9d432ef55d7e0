"""What a config.json says of a network of the Llama family, where it says all that is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trimtab.models.config import read_model_config
from trimtab.models.llama.family import FAMILIES
from trimtab.models.llama.rotation import BASE, KIND, NEEDED

SIZES: Final = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)
FULL: Final = "full_attention"
PARTIAL: Final = "partial_rotary_factor"
UNUSUAL: Final = (PARTIAL, "original_max_position_embeddings")
"""What most configs leave out, or at 1."""


@dataclass(frozen=True)
class Description:
    """Sizes and options of a network, under transformers' names."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    head_dim: int
    hidden_act: str
    rms_norm_eps: float
    tie_word_embeddings: bool
    rope_parameters: Mapping[str, Any]
    sliding_window: int | None
    attention_bias: bool
    mlp_bias: bool
    is_encoder_decoder: bool = False


def describe(folder: Path) -> Description | None:
    """Read a config; None where only transformers knows what a key means, or what an absent one stands for.

    Raises:
        RangeError: it is a generator of pictures.
        MissingError: the folder or its config.json does not exist.
        FormatError: the file is no JSON object, or holds absurd sizes.
    """
    config = read_model_config(folder)
    family = config["model_type"]
    if family not in FAMILIES or any(config.get(key) not in (None, 1) for key in UNUSUAL):
        return None
    window, rope = _window(config), _rope_parameters(config)
    options: dict[str, Any] = {
        "head_dim": _head_width(config),
        "hidden_act": config.get("hidden_act"),
        "rms_norm_eps": config.get("rms_norm_eps"),
        "tie_word_embeddings": config.get("tie_word_embeddings"),
        "attention_bias": config.get("attention_bias", False),
        "mlp_bias": config.get("mlp_bias", False),
    }
    sizes: dict[str, Any] = {key: config.get(key) for key in SIZES}
    if window is None or rope is None or not _are_sound(sizes, options):
        return None
    return Description(model_type=family, rope_parameters=rope, sliding_window=window or None, **sizes, **options)


def _are_sound(sizes: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    kinds = {"hidden_act": str, "rms_norm_eps": float, "head_dim": int}
    whole = all(type(size) is int and size > 0 for size in sizes.values())
    typed = all(type(value) is kinds.get(key, bool) for key, value in options.items())
    return whole and typed and sizes["num_attention_heads"] % sizes["num_key_value_heads"] == 0


def _head_width(config: Mapping[str, Any]) -> Any:
    """Give the stated width; where there is none, the hidden size shared out, which not every family does."""
    hidden: Any = config.get("hidden_size")
    heads: Any = config.get("num_attention_heads")
    if config.get("head_dim") is not None or config["model_type"] == "qwen3":
        return config.get("head_dim")
    both = type(hidden) is int and type(heads) is int and heads > 0
    return hidden // heads if both and hidden % heads == 0 else None


def _window(config: Mapping[str, Any]) -> int | None:
    """Give how many positions a token sees, 0 for all; None where that differs between layers, or is not stated."""
    kinds = config.get("layer_types")
    if config.get("use_sliding_window") or (kinds and (config["model_type"] == "mistral" or {*kinds} != {FULL})):
        return None
    if config["model_type"] != "mistral":
        return 0
    window = config.get("sliding_window", "absent")
    return 0 if window is None else window if type(window) is int and window > 0 else None


def _rope_parameters(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give what turns queries and keys, from the newer place of it or the older two."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, dict):
        return None
    found = {BASE: config.get(BASE), **given}
    kind = found.pop(KIND, None) or found.pop("type", "default")
    needed = NEEDED.get(kind) if isinstance(kind, str) else None
    if needed is None or not all(_is_number(found.get(key)) for key in needed) or found[BASE] <= 1:
        return None
    plain = all(value is None or isinstance(value, bool) or _is_number(value) for value in found.values())
    return {KIND: kind, **found} if plain and PARTIAL not in found else None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and value > 0
