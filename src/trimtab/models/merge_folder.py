"""The merge of a model folder and an adapter folder into a new model folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from trimtab.core.errors import RangeError
from trimtab.core.job import Job, Note, Result, Saved, Started
from trimtab.models.config import CONFIG_NAME, read_model_config
from trimtab.models.load import load_network
from trimtab.models.merge import logit_error, merge_lora, probe_ids
from trimtab.models.save import copy_tokenizer, save_model
from trimtab.models.trained_base import dense_base_notes
from trimtab.nn.linear import QuantizedLinear
from trimtab.store.adapter import load_adapter
from trimtab.store.bitsandbytes import SAVED_KINDS, quantization_config, to_tensors
from trimtab.store.safetensors import SINGLE_NAME
from trimtab.store.whole import whole_folder


def merge_folder(model: Path, adapter: Path, out: Path, *, requantize: bool = False) -> Job:
    """Write a model with an adapter folded in.

    Args:
        model: base folder, plain or quantized.
        adapter: PEFT folder.
        out: folder to write.
        requantize: store the merged weights as the base's were; the cost in logits is measured and told.

    Raises:
        RangeError: ``requantize`` on a base that is not quantized, or ``out`` exists.
    """
    if out.exists() and any(out.iterdir()):
        raise RangeError(f"{out} exists already. Choose another --out.")
    yield Started(f"merging {adapter} into {model.name}", str(out))
    yield from dense_base_notes(model, adapter)
    net = load_adapter(load_network(model), adapter)
    quantized = any(isinstance(module, QuantizedLinear) for module in net.modules())
    if requantize and not quantized:
        raise RangeError(f"--requantize: {model} is not quantized. Leave it away, or run trimtab quantize afterwards.")
    ids = probe_ids(int(cast(Any, net).config.get_text_config().vocab_size))
    before = _logits(net, ids)
    merge_lora(net, requantize=requantize)
    error = logit_error(before, _logits(net, ids))
    yield Note(
        f"logits differ from base + adapter by {error.relative:.2e} (relative), "
        f"same likeliest token at {error.same_choice:.1%} of {ids.numel()} positions."
    )
    if requantize:
        _save_quantized(net, model, out)
    else:
        save_model(net, model, out)
    yield Saved("model", str(out))
    yield Result({"out": str(out), "requantized": requantize, "logit_error": asdict(error)})


@torch.no_grad()
def _logits(net: nn.Module, ids: Tensor) -> Tensor:
    extra = {"decoder_input_ids": ids} if cast(Any, net).config.is_encoder_decoder else {}
    return cast(Tensor, net(input_ids=ids, **extra).logits)


def _save_quantized(net: nn.Module, source: Path, out: Path) -> None:
    from safetensors.torch import save_file

    layers = {name: m for name, m in net.named_modules() if isinstance(m, QuantizedLinear)}
    first = next(iter(layers.values())).quantized
    if first.kind not in SAVED_KINDS:
        raise RangeError(f"{first.kind} weights have no checkpoint form. Merge without --requantize.")
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        tensors |= to_tensors(f"{name}.weight", layer.quantized)
        if layer.bias is not None:
            tensors[f"{name}.bias"] = layer.bias
    seen: set[int] = set()
    for name, parameter in net.named_parameters():
        if name.rpartition(".")[0] not in layers and parameter.data_ptr() not in seen:
            seen.add(parameter.data_ptr())
            tensors[name] = parameter.detach()
    config = read_model_config(source)
    config["quantization_config"] = quantization_config(first.kind, double=first.double)
    with whole_folder(out) as folder:
        save_file(
            {k: v.contiguous().clone() for k, v in tensors.items()}, folder / SINGLE_NAME, metadata={"format": "pt"}
        )
        copy_tokenizer(source, folder)
        (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2), encoding="utf-8")
