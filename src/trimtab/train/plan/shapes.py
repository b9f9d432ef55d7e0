"""Shapes of the LLaMA family, so that the paper's claims can be planned without any file.

Source: arXiv:2302.13971, table 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final


def _llama(width: int, layers: int, heads: int, inner: int) -> Mapping[str, Any]:
    return MappingProxyType(
        {
            "model_type": "llama",
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "vocab_size": 32_000,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
        }
    )


SHAPES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "llama-7b": _llama(4096, 32, 32, 11_008),
        "llama-13b": _llama(5120, 40, 40, 13_824),
        "llama-33b": _llama(6656, 60, 52, 17_920),
        "llama-65b": _llama(8192, 80, 64, 22_016),
    }
)
