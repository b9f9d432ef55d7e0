"""Writing a whole network as a folder in transformers' layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from trimtab.core.errors import NonFiniteError
from trimtab.models.config import CONFIG_NAME, read_model_config
from trimtab.store.safetensors import SINGLE_NAME
from trimtab.store.whole import whole_folder

TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "chat_template.jinja",
    "generation_config.json",
)


def save_model(net: nn.Module, source: Path, out: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write a dense network beside the tokenizer of the folder it came from; whole or not at all.

    Args:
        net: without adapters or quantized layers.
        source: folder whose config and tokenizer files are taken over.
        out: replaced if it holds an older model; any other folder with something in it is refused.
        dtype: type of the written weights.

    Raises:
        NonFiniteError: a weight is NaN or infinite; nothing is written.
        RangeError: ``out`` holds something that is no model.
    """
    from safetensors.torch import save_file

    tensors = dense_state(net, dtype)
    if (out / CONFIG_NAME).is_file():
        shutil.rmtree(out)
    with whole_folder(out) as folder:
        save_file(tensors, folder / SINGLE_NAME, metadata={"format": "pt"})
        config = read_model_config(source)
        config.pop("quantization_config", None)
        config["dtype"] = str(dtype).removeprefix("torch.")
        (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2), encoding="utf-8")
        copy_tokenizer(source, folder)
    return out


def dense_state(net: nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Give every stored tensor once, tied ones under their first name, contiguous and on the CPU.

    Raises:
        NonFiniteError: a weight is NaN or infinite.
    """
    seen: set[int] = set()
    tensors: dict[str, torch.Tensor] = {}
    state: dict[str, Any] = net.state_dict()
    for name, tensor in state.items():
        if tensor.data_ptr() in seen and tensor.numel():
            continue
        seen.add(tensor.data_ptr())
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NonFiniteError(f"weight {name} is not finite: the model was not written.")
        tensors[name] = (tensor.to(dtype) if tensor.is_floating_point() else tensor).cpu().contiguous()
    return tensors


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy tokenizer and generation files as they are."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
