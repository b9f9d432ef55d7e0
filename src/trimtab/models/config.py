"""Reading a model's ``config.json`` without trusting it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.models.stylegan.config import is_generator
from trimtab.store.cards import MODEL_CONFIG
from trimtab.store.documents import read_object

CONFIG_NAME: Final = MODEL_CONFIG
MAX_CONFIG_BYTES: Final = 4 << 20
MAX_LAYERS: Final = 1_000
MAX_SIZE: Final = 2**27
MAX_NUMBER: Final = 2**53
SIZES: Final = frozenset(
    (
        "d_ff",
        "d_kv",
        "d_model",
        "ffn_dim",
        "head_dim",
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "moe_intermediate_size",
        "n_embd",
        "n_head",
        "n_inner",
        "n_positions",
        "num_attention_heads",
        "num_experts",
        "num_heads",
        "num_key_value_heads",
        "num_local_experts",
        "vocab_size",
    )
)
LAYERS: Final = frozenset(
    ("decoder_layers", "encoder_layers", "n_layer", "num_decoder_layers", "num_hidden_layers", "num_layers")
)
# Keys by which a config would have code fetched or run.
CODE_KEYS: Final = frozenset(("auto_map", "custom_pipelines", "attn_implementation", "experts_implementation"))


def read_model_config(folder: Path) -> dict[str, Any]:
    """Read and check a config.

    Code that a config points to is never run: keys that ask for it are dropped before anything sees them.

    Raises:
        RangeError: it is a generator of pictures.
        MissingError: the folder or its config.json does not exist.
        FormatError: the file is no JSON object, or holds absurd sizes.
    """
    path = folder / CONFIG_NAME
    if is_generator(folder):
        raise RangeError(f"{folder} holds a generator of pictures, no language model. Use it with: trimtab drag.")
    if not path.is_file():
        raise MissingError(f"{path} does not exist. A model folder holds {CONFIG_NAME} and safetensors weights.")
    document = read_object(path, most_bytes=MAX_CONFIG_BYTES)
    if not isinstance(document.get("model_type"), str):
        raise FormatError(path, "has no model_type")
    _check_numbers(path, document)
    return _without_code(document)


def _check_numbers(path: Path, document: dict[str, Any]) -> None:
    for key, value in document.items():
        most = MAX_SIZE if key in SIZES else MAX_LAYERS if key in LAYERS else None
        if most is not None and value is not None and (type(value) is not int or not 0 < value <= most):
            raise FormatError(path, f"has {key} = {value!r:.80}, expected a whole number from 1 to {most}")
        if isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
            raise FormatError(path, f"has {key} = {value!r:.80}, which is no sensible number")
        if isinstance(value, dict):
            _check_numbers(path, value)


def _without_code(document: dict[str, Any]) -> dict[str, Any]:
    """Drop keys that name code, and private ones, which would choose kernels to be fetched."""
    return {
        key: _without_code(value) if isinstance(value, dict) else value
        for key, value in document.items()
        if key not in CODE_KEYS and not key.startswith("_")
    }
