"""The frame of a Llama network: its tensors under transformers' names, for the lean decoder to read from.

Nothing here computes. It spares whoever only wants answers the import of transformers' networks, which takes longer
than loading a small model.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

from trimtab.models.llama.description import Description

QUERY_KEY_NORMS: Final = ("qwen3",)
QUERY_KEY_VALUE_BIASES: Final = ("qwen2",)


class LlamaNetwork(nn.Module):
    """A causal network of the Llama family whose tensors are placeholders, to be put in place one by one.

    Attributes:
        config: what it was built from.
        all_tied_weights_keys: tensors that a checkpoint leaves out, and those they are the same as.
    """

    def __init__(self, config: Description) -> None:
        """Build the frame; it takes no memory."""
        super().__init__()
        self.config = config
        self.all_tied_weights_keys = (
            {"lm_head.weight": "model.embed_tokens.weight"} if config.tie_word_embeddings else {}
        )
        with torch.device("meta"):
            self.model = _Layers(config)
            self.lm_head = _Linear(config.hidden_size, config.vocab_size, bias=False)
        self.eval()

    def get_output_embeddings(self) -> nn.Linear:
        """Give the output head."""
        return self.lm_head

    def tie_weights(self) -> None:
        """Let the head be the embedding where the config says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight


class _Weight(nn.Module):
    """What has a weight and nothing else: norms and the embedding."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Leave the placeholders alone: drawing them would import the half of PyTorch."""


class _Layers(nn.Module):
    def __init__(self, config: Description) -> None:
        super().__init__()
        self.embed_tokens = _Weight(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = _Weight(config.hidden_size)


class _Layer(nn.Module):
    def __init__(self, config: Description) -> None:
        super().__init__()
        self.self_attn, self.mlp = _Attention(config), _Gated(config)
        self.input_layernorm, self.post_attention_layernorm = _Weight(config.hidden_size), _Weight(config.hidden_size)


class _Attention(nn.Module):
    def __init__(self, config: Description) -> None:
        super().__init__()
        hidden, width, family = config.hidden_size, config.head_dim, config.model_type
        queries, keys = config.num_attention_heads * width, config.num_key_value_heads * width
        stated = config.attention_bias and family in ("llama", "qwen3")
        biased = stated or family in QUERY_KEY_VALUE_BIASES
        self.q_proj = _Linear(hidden, queries, bias=biased)
        self.k_proj = _Linear(hidden, keys, bias=biased)
        self.v_proj = _Linear(hidden, keys, bias=biased)
        self.o_proj = _Linear(queries, hidden, bias=stated)
        if family in QUERY_KEY_NORMS:
            self.q_norm, self.k_norm = _Weight(width), _Weight(width)


class _Gated(nn.Module):
    def __init__(self, config: Description) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        biased = config.mlp_bias and config.model_type == "llama"
        self.gate_proj = _Linear(hidden, inner, bias=biased)
        self.up_proj = _Linear(hidden, inner, bias=biased)
        self.down_proj = _Linear(inner, hidden, bias=biased)
