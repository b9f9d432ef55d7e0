"""Llama networks between GGUF and a folder in transformers' layout, both ways.

GGUF keeps the rows of the query and key projections in the order of interleaved rotary pairs; transformers keeps the
two halves of a head apart. Everything else differs in names only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from trimtab.core.errors import FormatError, RangeError
from trimtab.store.ggml import Floats, decode
from trimtab.store.gguf import GgufFile

ARCHITECTURE: Final = "llama"

_TOP: Final = MappingProxyType(
    {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
)
_LAYER: Final = MappingProxyType(
    {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
)
_LAYER_BACK: Final = MappingProxyType({ours: theirs for theirs, ours in _LAYER.items()})
_TOP_BACK: Final = MappingProxyType({ours: theirs for theirs, ours in _TOP.items()})


def config_of(gguf: GgufFile) -> dict[str, Any]:
    """Write the ``config.json`` of a Llama network from GGUF metadata.

    Raises:
        FormatError: another architecture, or a size is missing or absurd.
    """
    found = gguf.metadata.get("general.architecture")
    if not isinstance(found, str) or found != ARCHITECTURE:
        remedy = "Convert it to a transformers folder with that project's own tools."
        raise FormatError(
            gguf.path, f"holds the architecture {found!r:.80}; {ARCHITECTURE!r} can be read", remedy=remedy
        )
    layers = _size(gguf, "block_count")
    if layers > len(gguf.tensors):
        raise FormatError(gguf.path, f"announces {layers} layers and holds {len(gguf.tensors)} tensors")
    heads = _size(gguf, "attention.head_count")
    width = _size(gguf, "embedding_length")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": _size(gguf, "feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": _size(gguf, "attention.head_count_kv", heads),
        "head_dim": _size(gguf, "rope.dimension_count", width // heads),
        "max_position_embeddings": _size(gguf, "context_length"),
        "rms_norm_eps": _number(gguf, "attention.layer_norm_rms_epsilon", 1e-5),
        "rope_theta": _number(gguf, "rope.freq_base", 10000.0),
        "vocab_size": _vocabulary(gguf),
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
        "bos_token_id": _token(gguf, "bos"),
        "eos_token_id": _token(gguf, "eos"),
        "pad_token_id": _token(gguf, "padding"),
        "attention_bias": False,
        "mlp_bias": False,
        "dtype": "float32",
    }


def dense_tensors(gguf: GgufFile, config: Mapping[str, Any]) -> Iterator[tuple[str, Floats]]:
    """Decode every tensor under its transformers name, one at a time.

    Raises:
        FormatError: a tensor is unknown or its shape does not fit the config.
    """
    shapes = expected_shapes(config)
    missing = shapes.keys() - {name for theirs in gguf.tensors if (name := _ours(theirs))}
    if missing:
        raise FormatError(gguf.path, f"lacks {len(missing)} tensors, {sorted(missing)[0]} among them")
    for theirs, tensor in gguf.tensors.items():
        name = _ours(theirs)
        if name is None:
            if theirs.startswith("rope_freqs"):
                continue
            raise FormatError(gguf.path, f"holds the unknown tensor {theirs!r}")
        if shapes.get(name) != tensor.shape:
            raise FormatError(gguf.path, f"{theirs} has shape {list(tensor.shape)}, expected {shapes.get(name)}")
        dense = decode(tensor.data, tensor.kind, tensor.shape)
        yield name, split_halves(dense, _heads(name, config)) if _heads(name, config) else dense


def gguf_name(name: str) -> str:
    """Translate a transformers tensor name to GGUF's.

    Raises:
        RangeError: the tensor has no place in a Llama GGUF.
    """
    if name in _TOP_BACK:
        return _TOP_BACK[name]
    parts = name.split(".", 3)
    if len(parts) == 4 and parts[:2] == ["model", "layers"]:
        stem = parts[3].removesuffix(".weight")
        if stem in _LAYER_BACK and parts[3].endswith(".weight"):
            return f"blk.{parts[2]}.{_LAYER_BACK[stem]}.weight"
    raise RangeError(f"tensor {name!r} has no place in a Llama GGUF. Export to safetensors instead.")


def for_gguf(name: str, dense: Floats, config: Mapping[str, Any]) -> Floats:
    """Bring a tensor's rows into GGUF's order."""
    heads = _heads(name, config)
    return interleave_halves(dense, heads) if heads else dense


def split_halves(rows: Floats, heads: int) -> Floats:
    """Turn rows in interleaved rotary pairs into two halves a head: (heads * size, in)."""
    return np.ascontiguousarray(rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape))


def interleave_halves(rows: Floats, heads: int) -> Floats:
    """Undo ``split_halves``."""
    return np.ascontiguousarray(rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape))


def expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """List every tensor of a Llama network with its shape."""
    width, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    layer = {
        "input_layernorm": (width,),
        "post_attention_layernorm": (width,),
        "self_attn.q_proj": (queries, width),
        "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width),
        "self_attn.o_proj": (width, queries),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, width),
        "model.norm.weight": (width,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocabulary, width)
    for index in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{index}.{stem}.weight": shape for stem, shape in layer.items()}
    return shapes


def _ours(theirs: str) -> str | None:
    if theirs in _TOP:
        return _TOP[theirs]
    parts = theirs.split(".")
    if len(parts) == 4 and parts[0] == "blk" and _is_index(parts[1]) and parts[2] in _LAYER and parts[3] == "weight":
        return f"model.layers.{int(parts[1])}.{_LAYER[parts[2]]}.weight"
    return None


def _is_index(digits: str) -> bool:
    """Tell whether this is a number as it is usually written: "00" would name a layer a second time."""
    return digits.isascii() and digits.isdecimal() and (digits == "0" or not digits.startswith("0")) and len(digits) < 6


def _heads(name: str, config: Mapping[str, Any]) -> int:
    if name.endswith("q_proj.weight"):
        return int(config["num_attention_heads"])
    return int(config["num_key_value_heads"]) if name.endswith("k_proj.weight") else 0


def _size(gguf: GgufFile, key: str, default: int | None = None) -> int:
    value = gguf.metadata.get(f"{ARCHITECTURE}.{key}", default)
    if type(value) is not int or not 0 < value < 2**31:
        raise FormatError(
            gguf.path, f"metadata {ARCHITECTURE}.{key} is {value!r:.80}, expected a positive whole number"
        )
    return value


def _number(gguf: GgufFile, key: str, default: float) -> float:
    value = gguf.metadata.get(f"{ARCHITECTURE}.{key}", default)
    if type(value) not in (int, float) or not 0 < value < 1e30:
        raise FormatError(gguf.path, f"metadata {ARCHITECTURE}.{key} is {value!r:.80}, expected a positive number")
    return float(value)


def _vocabulary(gguf: GgufFile) -> int:
    tokens = gguf.metadata.get("tokenizer.ggml.tokens")
    return len(tokens) if isinstance(tokens, list) and tokens else _size(gguf, "vocab_size")


def _token(gguf: GgufFile, role: str) -> int | None:
    """Give the number of a special token; None where the file names none, or one outside its vocabulary."""
    value = gguf.metadata.get(f"tokenizer.ggml.{role}_token_id")
    return value if type(value) is int and 0 <= value < _vocabulary(gguf) else None
