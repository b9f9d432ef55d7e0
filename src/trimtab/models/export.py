"""Writing a model for other programs: dense safetensors, or GGUF that llama.cpp loads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from trimtab.core.errors import RangeError, did_you_mean
from trimtab.core.job import Job, Progress, Result, Saved, Started
from trimtab.models.config import read_model_config
from trimtab.models.load import load_network
from trimtab.models.merge import make_dense, merge_lora
from trimtab.models.save import dense_state, save_model
from trimtab.models.trained_base import dense_base_notes
from trimtab.store.adapter import load_adapter
from trimtab.store.ggml import GgmlType
from trimtab.store.gguf_llama import ARCHITECTURE, for_gguf, gguf_name
from trimtab.store.gguf_tokenizer import read_tokenizer_metadata
from trimtab.store.gguf_writer import GgufWriter

FORMATS: Final = ("safetensors", "gguf")
GGUF_TYPES: Final[Mapping[str, GgmlType]] = MappingProxyType({"f16": GgmlType.F16, "q8_0": GgmlType.Q8_0})
SAFETENSORS_TYPES: Final = MappingProxyType({"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16})
FILE_TYPES: Final = MappingProxyType({GgmlType.F16: 1, GgmlType.Q8_0: 7})


def export_model(model: Path, out: Path, *, form: str, adapter: Path | None = None, dtype: str = "") -> Job:
    """Write a model, with an adapter folded in where one is given.

    Args:
        model: folder, plain or quantized.
        out: folder (safetensors) or file (gguf) to write.
        form: "safetensors" or "gguf".
        adapter: PEFT folder.
        dtype: "f32", "f16" or "bf16" for safetensors; "f16" or "q8_0" for gguf; empty takes the first 16-bit one.

    Raises:
        RangeError: format or type is not allowed, the target exists, or the architecture has no GGUF form here.
    """
    if form not in FORMATS:
        raise RangeError(f"--format {form}: {did_you_mean(form, FORMATS)}")
    types: Mapping[str, Any] = GGUF_TYPES if form == "gguf" else SAFETENSORS_TYPES
    dtype = dtype or "f16"
    if dtype not in types:
        raise RangeError(f"--dtype {dtype}: {did_you_mean(dtype, types)}")
    if out.exists():
        raise RangeError(f"{out} exists already. Choose another --out.")
    yield Started(f"exporting {model.name} as {form} {dtype}", str(out))
    config = read_model_config(model)
    if form == "gguf" and config["model_type"] != ARCHITECTURE:
        raise RangeError(f"{config['model_type']} has no GGUF form here; {ARCHITECTURE} has. Use --format safetensors.")
    if adapter:
        yield from dense_base_notes(model, adapter)
    net = load_network(model)
    net = merge_lora(load_adapter(net, adapter)) if adapter else make_dense(net)
    if form == "safetensors":
        save_model(net, model, out, dtype=SAFETENSORS_TYPES[dtype])
    else:
        yield from _write_gguf(net, model, out, GGUF_TYPES[dtype])
    yield Saved("model", str(out))
    nbytes = out.stat().st_size if out.is_file() else sum(f.stat().st_size for f in out.iterdir())
    yield Result({"out": str(out), "format": form, "dtype": dtype, "bytes": nbytes})


def _write_gguf(net: nn.Module, source: Path, out: Path, kind: GgmlType) -> Iterator[Progress]:
    config = _full_config(net)
    tensors = dense_state(net, torch.float32)
    with GgufWriter(out, _metadata(config, source, kind)) as writer:
        for name, tensor in tensors.items():
            values = for_gguf(name, tensor.numpy(), config)
            writer.announce(gguf_name(name), values.shape, kind if values.ndim == 2 else GgmlType.F32)
        for done, (name, tensor) in enumerate(tensors.items(), start=1):
            writer.write(gguf_name(name), np.asarray(for_gguf(name, tensor.numpy(), config)))
            yield Progress("writing", done, len(tensors), "tensors")


def _full_config(net: nn.Module) -> dict[str, Any]:
    """Give the network's resolved config: what a config.json may leave to defaults is filled in."""
    from typing import cast

    config = cast(Any, net).config
    document: dict[str, Any] = config.to_dict()
    rope = document.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise RangeError(f"rotary scaling {rope['rope_type']!r} has no GGUF form here. Use --format safetensors.")
    document["rope_theta"] = rope.get("rope_theta", document.get("rope_theta", 10000.0))
    document["head_dim"] = document.get("head_dim") or config.hidden_size // config.num_attention_heads
    return document


def _metadata(config: Mapping[str, Any], source: Path, kind: GgmlType) -> dict[str, Any]:
    """Write the keys that llama.cpp asks for."""
    metadata: dict[str, Any] = {
        "general.architecture": ARCHITECTURE,
        "general.type": "model",
        "general.name": source.name,
        "general.file_type": FILE_TYPES[kind],
        "general.quantization_version": 2,
        f"{ARCHITECTURE}.block_count": config["num_hidden_layers"],
        f"{ARCHITECTURE}.context_length": config["max_position_embeddings"],
        f"{ARCHITECTURE}.embedding_length": config["hidden_size"],
        f"{ARCHITECTURE}.feed_forward_length": config["intermediate_size"],
        f"{ARCHITECTURE}.attention.head_count": config["num_attention_heads"],
        f"{ARCHITECTURE}.attention.head_count_kv": config["num_key_value_heads"],
        f"{ARCHITECTURE}.attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        f"{ARCHITECTURE}.attention.key_length": config["head_dim"],
        f"{ARCHITECTURE}.attention.value_length": config["head_dim"],
        f"{ARCHITECTURE}.rope.dimension_count": config["head_dim"],
        f"{ARCHITECTURE}.rope.freq_base": float(config["rope_theta"]),
        f"{ARCHITECTURE}.vocab_size": config["vocab_size"],
    }
    return metadata | read_tokenizer_metadata(source, size=config["vocab_size"])
