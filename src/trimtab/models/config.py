"""Reading a model's ``config.json`` without trusting it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import FormatError, MissingError

CONFIG_NAME: Final = "config.json"
MAX_CONFIG_BYTES: Final = 4 << 20
MAX_LAYERS: Final = 10_000
MAX_SIZE: Final = 2**27
SIZES: Final = ("hidden_size", "intermediate_size", "vocab_size", "d_model", "d_ff", "num_attention_heads", "num_heads")
LAYERS: Final = ("num_hidden_layers", "num_layers", "n_layer", "num_decoder_layers")
CODE_KEYS: Final = ("auto_map", "custom_pipelines")


def read_model_config(folder: Path) -> dict[str, Any]:
    """Read and check a config.

    Code that a config points to is never run: keys that ask for it are dropped before anything sees them.

    Raises:
        MissingError: the folder or its config.json does not exist.
        FormatError: the file is no JSON object, or holds absurd sizes.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise MissingError(f"{path} does not exist. A model folder holds {CONFIG_NAME} and safetensors weights.")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise FormatError(path, f"is larger than {MAX_CONFIG_BYTES} bytes")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"is no JSON ({error})") from error
    if not isinstance(document, dict) or not isinstance(document.get("model_type"), str):
        raise FormatError(path, "has no model_type")
    for keys, most in ((SIZES, MAX_SIZE), (LAYERS, MAX_LAYERS)):
        for key in keys:
            value = document.get(key)
            if value is not None and (type(value) is not int or not 0 < value <= most):
                raise FormatError(path, f"has {key} = {value!r}, expected a whole number from 1 to {most}")
    return {key: value for key, value in document.items() if key not in CODE_KEYS}
