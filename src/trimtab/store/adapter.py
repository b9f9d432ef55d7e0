"""Adapter folders in PEFT's layout: ``adapter_config.json`` and ``adapter_model.safetensors``, both ways."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from trimtab.core.errors import FormatError, MissingError, NonFiniteError
from trimtab.nn.linear import linear_names
from trimtab.nn.lora import DEFAULT_ADAPTER, LoraSettings, activate, add_lora, lora_layers
from trimtab.store.adapter_base import BASE_NAME, AdapterBase, base_document, form_of
from trimtab.store.documents import read_object
from trimtab.store.durable import write_bytes
from trimtab.store.safetensors import TensorFile

CONFIG_NAME: Final = "adapter_config.json"
WEIGHTS_NAME: Final = "adapter_model.safetensors"
PREFIX: Final = "base_model.model."
MAX_CONFIG_BYTES: Final = 1 << 20
UNSUPPORTED: Final = (
    "use_dora",
    "fan_in_fan_out",
    "modules_to_save",
    "layers_to_transform",
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "lora_bias",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "use_qalora",
)
# Ways to begin that leave the base as it is; others (pissa, olora, loftq) change it, and need it changed again.
HARMLESS_STARTS: Final = (None, True, False, "gaussian", "orthogonal", "eva")
TASKS: Final = {False: "CAUSAL_LM", True: "SEQ_2_SEQ_LM"}


def save_adapter(
    net: nn.Module, folder: str | Path, *, adapter: str = DEFAULT_ADAPTER, base: str = "", base_sha256: str = ""
) -> Path:
    """Write one adapter of a network as a PEFT folder, and beside it how the network under it is stored.

    Args:
        net: a network with adapters.
        folder: made where it is absent; files of an older adapter in it are replaced one by one, each whole.
        adapter: which one.
        base: name or path of the base model, for the config.
        base_sha256: hash of the base's files, for the record.

    Raises:
        MissingError: no such adapter.
        NonFiniteError: a factor is NaN or infinite; nothing is written.
    """
    from safetensors.torch import save

    layers = {n: layer for n, layer in lora_layers(net).items() if adapter in layer.settings}
    if not layers:
        raise MissingError(f"no adapter {adapter!r} on this network. Add one with add_lora first.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = adapter_tensors(net, adapter)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise NonFiniteError(f"{name} is not finite: the adapter was not written to {folder}.")
    settings = next(iter(layers.values())).settings[adapter]
    seq2seq = bool(getattr(getattr(net, "config", None), "is_encoder_decoder", False))
    config = peft_config(settings, targets=_targets(net, list(layers)), base=base, seq2seq=seq2seq)
    write_bytes(folder / WEIGHTS_NAME, save(tensors, metadata={"format": "pt"}))
    write_bytes(folder / CONFIG_NAME, json.dumps(config, indent=2).encode())
    write_bytes(folder / BASE_NAME, base_document(AdapterBase(base, base_sha256, form_of(net))))
    return folder


def load_adapter(net: nn.Module, folder: str | Path, *, adapter: str = DEFAULT_ADAPTER) -> nn.Module:
    """Read a PEFT LoRA folder onto a network and make it the active adapter.

    Raises:
        MissingError: a file is absent.
        FormatError: the folder is damaged, or holds what is no plain LoRA, or does not fit this network.
    """
    folder = Path(folder)
    config = read_config(folder)
    settings = LoraSettings(
        rank=config["r"],
        alpha=float(config["lora_alpha"]),
        dropout=float(config.get("lora_dropout") or 0.0),
        rank_stabilised=bool(config.get("use_rslora", False)),
    )
    file = TensorFile(_present(folder / WEIGHTS_NAME))
    pairs = _pairs(file, settings.rank)
    names = {name for name, _ in net.named_modules()}
    for name in pairs:
        if name not in names:
            raise FormatError(file.path, f"adapts {name!r:.200}, which this model has not: its base is another one")
    adaptable = {*linear_names(net), *lora_layers(net)}
    for name in pairs:
        if name not in adaptable:
            raise FormatError(file.path, f"adapts {name!r:.200}, which is no linear layer below the output head")
    _check_shapes(net, file, pairs)
    factors = {key: _factor(file, key) for name in pairs for key in (_key(name, "A"), _key(name, "B"))}
    add_lora(net, _with_targets(settings, pairs), adapter=adapter)
    layers = lora_layers(net)
    with torch.no_grad():
        for name in pairs:
            layers[name].lora_A[adapter].copy_(factors[_key(name, "A")])
            layers[name].lora_B[adapter].copy_(factors[_key(name, "B")])
    activate(net, adapter)
    return net


def _factor(file: TensorFile, key: str) -> Tensor:
    tensor = file.load(key)
    if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
        raise FormatError(file.path, f"{key} is not finite, or holds no fractions ({tensor.dtype})")
    return tensor


def adapter_tensors(net: nn.Module, adapter: str) -> dict[str, Tensor]:
    """Give an adapter's factors under PEFT's names."""
    tensors: dict[str, Tensor] = {}
    for name, layer in lora_layers(net).items():
        if adapter in layer.settings:
            tensors[_key(name, "A")] = layer.lora_A[adapter].detach().cpu().contiguous()
            tensors[_key(name, "B")] = layer.lora_B[adapter].detach().cpu().contiguous()
    return tensors


def peft_config(settings: LoraSettings, *, targets: list[str], base: str, seq2seq: bool) -> dict[str, Any]:
    """Write the ``adapter_config.json`` that PEFT reads."""
    alpha = int(settings.alpha) if float(settings.alpha).is_integer() else settings.alpha
    return {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": alpha,
        "lora_dropout": settings.dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": settings.rank,
        "target_modules": targets,
        "task_type": TASKS[seq2seq],
        "use_dora": False,
        "use_rslora": settings.rank_stabilised,
    }


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check an ``adapter_config.json``.

    Raises:
        MissingError: it is absent.
        FormatError: it is damaged or asks for what is not supported.
    """
    path = _present(folder / CONFIG_NAME)
    config = read_object(path, most_bytes=MAX_CONFIG_BYTES)
    if config.get("peft_type") != "LORA":
        raise FormatError(path, "is no LoRA adapter (peft_type must be LORA)")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 1 <= rank <= 65_536:
        raise FormatError(path, f"has r = {rank!r:.80}, expected a whole number from 1")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha) or alpha <= 0:
        raise FormatError(path, f"has lora_alpha = {alpha!r:.80}, expected a number above 0")
    dropout = config.get("lora_dropout") or 0.0
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0.0 <= dropout < 1.0:
        raise FormatError(path, f"has lora_dropout = {dropout!r:.80}, expected 0 up to, not including, 1")
    for key in UNSUPPORTED:
        if config.get(key):
            raise FormatError(path, f"uses {key}, which is not supported", remedy="Merge it with PEFT first.")
    if (start := config.get("init_lora_weights")) not in HARMLESS_STARTS:
        raise FormatError(path, f"began as {start!r:.80}, which changes the base", remedy="Merge it with PEFT first.")
    if config.get("bias", "none") != "none":
        raise FormatError(path, "trains biases, which is not supported", remedy="Merge it with PEFT first.")
    return config


def _present(path: Path) -> Path:
    if not path.is_file():
        raise MissingError(f"{path} does not exist. An adapter folder holds {CONFIG_NAME} and {WEIGHTS_NAME}.")
    return path


def _key(name: str, letter: str) -> str:
    return f"{PREFIX}{name}.lora_{letter}.weight"


def _pairs(file: TensorFile, rank: int) -> list[str]:
    """Name the adapted layers; every one must have both factors, of the rank the config states."""
    names: dict[str, set[str]] = {}
    for key, shape in file.shapes.items():
        stem, _, letter = key.removesuffix(".weight").rpartition(".lora_")
        if not key.startswith(PREFIX) or letter not in ("A", "B"):
            raise FormatError(file.path, f"holds {key!r:.200}, which is no factor of a plain LoRA")
        if len(shape) != 2 or shape[0 if letter == "A" else 1] != rank:
            raise FormatError(file.path, f"{key} has shape {list(shape)}, which does not fit r = {rank}")
        names.setdefault(stem.removeprefix(PREFIX), set()).add(letter)
    for name, letters in names.items():
        if letters != {"A", "B"}:
            raise FormatError(file.path, f"{name} lacks one of its two factors")
    if not names:
        raise FormatError(file.path, "holds no factors")
    return list(names)


def _check_shapes(net: nn.Module, file: TensorFile, pairs: list[str]) -> None:
    for name in pairs:
        layer = net.get_submodule(name)
        inputs, outputs = getattr(layer, "in_features", None), getattr(layer, "out_features", None)
        found = file.shapes[_key(name, "A")][1], file.shapes[_key(name, "B")][0]
        if found != (inputs, outputs):
            raise FormatError(file.path, f"{name} adapts {found[0]} to {found[1]}, the model has {inputs} to {outputs}")


def _with_targets(settings: LoraSettings, pairs: list[str]) -> LoraSettings:
    return dataclasses.replace(settings, targets=tuple(pairs))


def _targets(net: nn.Module, adapted: list[str]) -> list[str]:
    """Give last parts of names where those mean just the adapted layers, else whole names."""
    endings = sorted({name.rsplit(".", 1)[-1] for name in adapted})
    matching = [
        n for n, module in net.named_modules() if n.rsplit(".", 1)[-1] in endings and hasattr(module, "in_features")
    ]
    return endings if set(matching) == set(adapted) else sorted(adapted)
