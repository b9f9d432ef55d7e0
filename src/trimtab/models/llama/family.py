"""Which networks the lean decoder computes, and why it leaves another one alone."""

from __future__ import annotations

from typing import Any

from torch import nn

from trimtab.kernels.ops import llama as native
from trimtab.models.llama.rotation import KIND, NEEDED

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""``model_type`` of the networks whose blocks are the same but for biases and norms of query and key."""

ACTIVATIONS = ("silu", "swish")


def obstacle(net: nn.Module) -> str | None:
    """Tell in a few words why the lean decoder cannot run a network; None where it can."""
    place = next((p.device.type for p in net.parameters()), "cpu")
    if place != "cpu":
        return f"it is on {place}"
    return unfit(getattr(net, "config", None)) or _missing_part(net)


def unfit(config: Any) -> str | None:
    """Tell what a network's config asks for that the lean decoder does not compute; None where there is nothing."""
    family = getattr(config, "model_type", None)
    if family not in FAMILIES:
        return f"its architecture is {family}, not one of {', '.join(FAMILIES)}"
    if config.hidden_act not in ACTIVATIONS:
        return f"its activation is {config.hidden_act}"
    rotation = (getattr(config, "rope_parameters", None) or {}).get(KIND, "default")
    if rotation not in NEEDED:
        return f"its rotary embedding is of the kind {rotation}"
    if len({layer_window(config, index) for index in range(config.num_hidden_layers)}) > 1:
        return "its layers see windows of different lengths"
    if head_width(config) % 2 or config.num_attention_heads // config.num_key_value_heads > native.MOST_GROUPED:
        return "its heads have an odd shape"
    return None


def missing_code() -> str | None:
    """Tell why the compiled decoder cannot run on this machine; None where it can."""
    return None if native.available() else "the C kernels were not built, or this processor lacks AVX2"


def head_width(config: Any) -> int:
    """Give the width of one attention head."""
    stated = getattr(config, "head_dim", None)
    return int(stated or config.hidden_size // config.num_attention_heads)


def layer_window(config: Any, layer: int) -> int:
    """Give how many positions a layer's tokens see; 0 for all."""
    kinds = getattr(config, "layer_types", None)
    width = getattr(config, "sliding_window", None)
    slides = kinds[layer] == "sliding_attention" if kinds else config.model_type == "mistral"
    return int(width) if width and slides else 0


def _missing_part(net: nn.Module) -> str | None:
    names = {name.rsplit(".", 1)[-1] for name, _ in net.named_modules()}
    missing = {*native.LINEARS, "embed_tokens", "lm_head"} - names
    return f"it has no {', '.join(sorted(missing))}" if missing else None
