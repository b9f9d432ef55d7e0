"""Tiny networks of the Llama family, one of each kind that the lean decoder computes."""

from __future__ import annotations

from typing import Any

import tiny

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
NETWORKS: dict[str, Any] = {
    "llama": lambda: tiny.llama(),
    "tied": lambda: tiny.llama(tied=True),
    "biased": lambda: tiny.llama(bias=True, mlp_bias=True),
    "all heads alike": lambda: tiny.llama(num_key_value_heads=4),
    "one key head": lambda: tiny.llama(num_key_value_heads=1),
    "scaled rotation": lambda: tiny.llama(rope_parameters=LLAMA3),
    "yarn": lambda: tiny.llama(rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}),
    "wide heads": lambda: tiny.llama(head_dim=80),
    "odd sizes": lambda: tiny.llama(hidden_size=72, intermediate_size=100, head_dim=18),
    "mistral": lambda: tiny.causal("mistral", num_key_value_heads=2, sliding_window=None),
    "mistral, window": lambda: tiny.causal("mistral", num_key_value_heads=2, sliding_window=9),
    "qwen2": lambda: tiny.causal("qwen2", num_key_value_heads=2),
    "qwen3": lambda: tiny.causal("qwen3", num_key_value_heads=2, head_dim=32),
}
