"""Hostile adapter folders."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from hostile.attack import nothing_runs, refused
from hostile.test_folders import Gadget
from trimtab.core.errors import FormatError, MissingError, NonFiniteError
from trimtab.nn.lora import LoraSettings, add_lora, lora_layers
from trimtab.store.adapter import load_adapter, save_adapter

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
A, B = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"
NAN = float("nan")


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return save_adapter(add_lora(tiny.llama(), LoraSettings(rank=4, alpha=8)), tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "adapter"))


def config_with(**changes: Any) -> Callable[[Path], Any]:
    return lambda folder: tiny.change_json(folder / "adapter_config.json", **changes)


def config_of(raw: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / "adapter_config.json").write_bytes(raw)


def weights_with(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], Any]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")

    return apply


def renamed(old: str, new: str) -> Callable[[Path], Any]:
    return weights_with(lambda tensors: tensors.update({new: tensors.pop(old)}))


CASES: dict[str, Callable[[Path], Any]] = {
    "config: no JSON": config_of(b"{"),
    "config: a list": config_of(b"[]"),
    "config: bad UTF-8": config_of(b"\xff\xfe"),
    "config: 100,000 deep": config_of(b'{"a":' * 100_000),
    "config: two megabytes": config_of(b'{"a": "' + b"x" * 2_000_000 + b'"}'),
    "config: another method": config_with(peft_type="IA3"),
    "config: no method": config_with(peft_type=...),
    "config: rank of zero": config_with(r=0),
    "config: rank of 2^40": config_with(r=2**40),
    "config: rank that is text": config_with(r="4"),
    "config: rank that is true": config_with(r=True),
    "config: another rank than the weights": config_with(r=8),
    "config: no alpha": config_with(lora_alpha=...),
    "config: alpha of zero": config_with(lora_alpha=0),
    "config: alpha that is NaN": config_with(lora_alpha=NAN),
    "config: alpha that is text": config_with(lora_alpha="8"),
    "config: dropout of two": config_with(lora_dropout=2),
    "config: dropout that is text": config_with(lora_dropout="much"),
    "config: dropout that is NaN": config_with(lora_dropout=NAN),
    "config: a weight decomposition": config_with(use_dora=True),
    "config: modules of one's own": config_with(modules_to_save=["lm_head"]),
    "config: ranks by layer": config_with(rank_pattern={"q_proj": 8}),
    "config: trained biases": config_with(bias="all"),
    "config: a start that changes the base": config_with(init_lora_weights="pissa"),
    "config: replicated layers": config_with(layer_replication=[[0, 2], [1, 2]]),
    "config: missing": lambda folder: (folder / "adapter_config.json").unlink(),
    "weights: missing": lambda folder: (folder / "adapter_model.safetensors").unlink(),
    "weights: cut short": lambda folder: (folder / "adapter_model.safetensors").write_bytes(
        (folder / "adapter_model.safetensors").read_bytes()[:-1]
    ),
    "weights: none": weights_with(lambda tensors: tensors.clear()),
    "weights: NaN": weights_with(lambda tensors: tensors[A].fill_(NAN)),
    "weights: infinite": weights_with(lambda tensors: tensors[B].fill_(float("inf"))),
    "weights: whole numbers": weights_with(lambda tensors: tensors.update({A: tensors[A].to(torch.int64)})),
    "weights: one factor": weights_with(lambda tensors: tensors.pop(B)),
    "weights: a factor on its side": weights_with(lambda tensors: tensors.update({A: tensors[A].T.contiguous()})),
    "weights: a factor of three dimensions": weights_with(lambda tensors: tensors.update({A: tensors[A][None]})),
    "weights: another width": weights_with(lambda tensors: tensors.update({A: torch.zeros(4, 32)})),
    "weights: a layer that is not there": weights_with(
        lambda tensors: tensors.update({key.replace("q_proj", "evil"): tensors[key].clone() for key in (A, B)})
    ),
    "weights: the head": weights_with(
        lambda tensors: tensors.update(
            {
                "base_model.model.lm_head.lora_A.weight": torch.zeros(4, tiny.WIDTH),
                "base_model.model.lm_head.lora_B.weight": torch.zeros(tiny.vocabulary_size(), 4),
            }
        )
    ),
    "weights: a norm": weights_with(
        lambda tensors: tensors.update(
            {
                "base_model.model.model.norm.lora_A.weight": torch.zeros(4, tiny.WIDTH),
                "base_model.model.model.norm.lora_B.weight": torch.zeros(tiny.WIDTH, 4),
            }
        )
    ),
    "weights: an embedding": renamed(A, f"{LAYER}.lora_embedding_A"),
    "weights: a magnitude vector": renamed(A, f"{LAYER}.lora_magnitude_vector"),
    "weights: no prefix": renamed(A, A.removeprefix("base_model.")),
    "weights: an attribute for a layer": renamed(A, "base_model.model.__class__.lora_A.weight"),
    "weights: a name that climbs": lambda folder: (folder / "adapter_model.safetensors").write_bytes(
        (folder / "adapter_model.safetensors")
        .read_bytes()
        .replace(b"base_model.model.model", b"../../../../../../../e")
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_adapter_is_refused(folder, case):
    CASES[case](folder)
    net = tiny.llama()
    error = refused(lambda: load_adapter(net, folder), folder)
    assert isinstance(error, FormatError | MissingError | NonFiniteError)
    assert not lora_layers(net)


@pytest.mark.parametrize("name", ["adapter_model.bin", "training_args.bin"])
def test_a_pickle_beside_the_adapter_is_never_opened(folder, tmp_path, name):
    (folder / name).write_bytes(pickle.dumps(Gadget(tmp_path / "mark")))
    with nothing_runs(folder):
        load_adapter(tiny.llama(), folder)
    assert not (tmp_path / "mark").exists()


def test_a_pickle_in_place_of_the_adapter_is_never_opened(folder, tmp_path):
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Gadget(tmp_path / "mark")))
    with nothing_runs(folder):
        refused(lambda: load_adapter(tiny.llama(), folder), folder)
    assert not (tmp_path / "mark").exists()


def test_an_adapter_of_another_base_names_the_layer(original):
    net = tiny.FAMILIES["gpt_neox"]()
    refused(lambda: load_adapter(net, original), original, named="which this model has not")


def test_an_adapter_that_is_not_finite_is_never_written(tmp_path):
    net = add_lora(tiny.llama(), LoraSettings(rank=4))
    with torch.no_grad():
        next(iter(lora_layers(net).values())).lora_A["default"][0, 0] = NAN
    with pytest.raises(NonFiniteError, match="lora_A"):
        save_adapter(net, tmp_path)
    assert list(tmp_path.iterdir()) == []
