"""Hostile model folders: configs, shard lists, weights that do not fit, and files that must never be opened."""

from __future__ import annotations

import json
import os
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
from trimtab.core.errors import FormatError, MissingError, NonFiniteError
from trimtab.core.job import result_of
from trimtab.models.config import read_model_config
from trimtab.models.load import Quantization, load_network
from trimtab.models.quantize_folder import quantize_folder

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """A whole, a sharded and a quantized folder of the same tiny network."""
    root = tmp_path_factory.mktemp("originals")
    tiny.save(tiny.llama(), root / "whole", with_tokenizer=True)
    tiny.save(tiny.llama(), root / "sharded", shard_size="200KB")
    for kind in ("nf4", "int8"):
        result_of(quantize_folder(root / "whole", root / kind, kind=kind))
    return root


@pytest.fixture
def folder(originals, tmp_path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(originals / name, tmp_path / name))


def config_with(**changes: Any) -> Callable[[Path], Any]:
    return lambda folder: tiny.change_json(folder / "config.json", **changes)


def config_of(text: str | bytes) -> Callable[[Path], Any]:
    raw = text if isinstance(text, bytes) else text.encode()
    return lambda folder: (folder / "config.json").write_bytes(raw)


CONFIGS: dict[str, Callable[[Path], Any]] = {
    "empty": config_of(""),
    "no JSON": config_of("{model_type: llama}"),
    "bad UTF-8": config_of(b"\xff\xfe{}"),
    "a list": config_of("[]"),
    "100,000 deep": config_of('{"a":' * 100_000 + "1" + "}" * 100_000),
    "600 deep": config_of('{"model_type": "llama", "a":' * 600 + "1" + "}" * 600),
    "990 deep": config_of('{"model_type": "llama", "a":' * 990 + "1" + "}" * 990),
    "five megabytes": config_of('{"a": "' + "x" * 5_000_000 + '"}'),
    "no model_type": config_with(model_type=...),
    "a model_type that is a number": config_with(model_type=7),
    "an unknown model_type": config_with(model_type="no-such-network"),
    "a model_type that is a path": config_with(model_type="../../evil"),
    "a vocabulary of 2^40": config_with(vocab_size=2**40),
    "a negative vocabulary": config_with(vocab_size=-1),
    "a vocabulary of zero": config_with(vocab_size=0),
    "a vocabulary that is text": config_with(vocab_size="many"),
    "a vocabulary with a fraction": config_with(vocab_size=99.5),
    "a vocabulary that is true": config_with(vocab_size=True),
    "10^9 layers": config_with(num_hidden_layers=10**9),
    "999 layers": config_with(num_hidden_layers=999),
    "minus one layer": config_with(num_hidden_layers=-1),
    "a layer count that is a list": config_with(num_hidden_layers=[2]),
    "a width of 2^26": config_with(hidden_size=2**26),
    "a width and an inner width of 2^27": config_with(hidden_size=2**27, intermediate_size=2**27),
    "an inner width of 2^60": config_with(intermediate_size=2**60),
    "a head size of 2^60": config_with(head_dim=2**60),
    "no heads": config_with(num_attention_heads=0),
    "heads that do not divide": config_with(num_attention_heads=7),
    "a window of 2^60": config_with(max_position_embeddings=2**60),
    "an activation that does not exist": config_with(hidden_act="no-such-thing"),
    "an activation that is a number": config_with(hidden_act=3),
    "a rotary base of 10^400": config_of('{"model_type": "llama", "rope_theta": 1e400}'),
    "a number of 5,000 digits": config_of('{"model_type": "llama", "x": ' + "9" * 5000 + "}"),
    "rotary settings that are text": config_with(rope_parameters="evil"),
    "an unknown rotary type": config_with(rope_parameters={"rope_type": "evil", "rope_theta": 1e4}),
    "sizes hidden in an inner config": config_with(text_config={"vocab_size": 2**50}),
    "another vocabulary than the weights": config_with(vocab_size=tiny.vocabulary_size() + 1),
    "another width than the weights": config_with(hidden_size=32, head_dim=16),
    "more layers than the weights": config_with(num_hidden_layers=3),
    "another family": config_with(model_type="gpt_neox"),
    "a family that is no language model": config_with(model_type="vit"),
    "a quadratic mask of 10 GB": config_of(
        '{"model_type": "gpt_neo", "max_position_embeddings": 100000, "hidden_size": 64, "num_heads": 4, '
        '"num_layers": 2, "attention_types": [[["global", "local"], 1]]}'
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_hostile_config_is_refused(folder, case):
    path = folder("whole")
    CONFIGS[case](path)
    error = refused(lambda: load_network(path), path)
    assert isinstance(error, FormatError)


def weights_with(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], Any]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return apply


def setting(name: str, value: Any) -> Callable[[Path], Any]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name] = value(tensors[name]) if callable(value) else value

    return weights_with(change)


def filled(number: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def fill(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[3] = number
        return tensor

    return fill


QUERY, NORM = "model.layers.1.self_attn.q_proj.weight", "model.norm.weight"
STATE = f"{QUERY}.quant_state.bitsandbytes__nf4"


def state_with(**changes: Any) -> Callable[[Path], Any]:
    def rewrite(raw: torch.Tensor) -> torch.Tensor:
        document = json.loads(bytes(raw.tolist())) | changes
        return torch.frombuffer(bytearray(json.dumps(document).encode()), dtype=torch.uint8)

    return setting(STATE, rewrite)


WEIGHTS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "a missing weight": ("whole", weights_with(lambda tensors: tensors.pop(QUERY))),
    "a missing norm": ("whole", weights_with(lambda tensors: tensors.pop(NORM))),
    "no weight at all": ("whole", weights_with(lambda tensors: tensors.clear())),
    "a weight of another shape": ("whole", setting(QUERY, lambda tensor: tensor[:-1].contiguous())),
    "a weight on its side": ("whole", setting("model.layers.0.mlp.up_proj.weight", lambda t: t.T.contiguous())),
    "a weight of whole numbers": ("whole", setting(QUERY, lambda tensor: tensor.to(torch.int32))),
    "a weight that is NaN": ("whole", setting(QUERY, filled(NAN))),
    "a norm that is infinite": ("whole", setting(NORM, filled(INF))),
    "codes of another length": ("nf4", setting(QUERY, lambda tensor: tensor[:-1].contiguous())),
    "scales of another length": ("nf4", setting(f"{QUERY}.absmax", lambda tensor: tensor[:-1].contiguous())),
    "scales of another type": ("nf4", setting(f"{QUERY}.absmax", lambda tensor: tensor.float())),
    "nested scales that are NaN": ("nf4", setting(f"{QUERY}.nested_absmax", lambda tensor: tensor * NAN)),
    "a code book of one's own": ("nf4", setting(f"{QUERY}.quant_map", lambda tensor: tensor * 2)),
    "no code book": ("nf4", weights_with(lambda tensors: tensors.pop(f"{QUERY}.quant_map"))),
    "no nested scales": ("nf4", weights_with(lambda tensors: tensors.pop(f"{QUERY}.nested_absmax"))),
    "two quantization states": ("nf4", setting(STATE.replace("nf4", "fp4"), torch.zeros(4, dtype=torch.uint8))),
    "a state that is no JSON": ("nf4", setting(STATE, torch.full((8,), 123, dtype=torch.uint8))),
    "a state of a megabyte": ("nf4", setting(STATE, torch.full((1 << 20,), 32, dtype=torch.uint8))),
    "a state that is deep": ("nf4", setting(STATE, torch.full((4096,), ord("["), dtype=torch.uint8))),
    "a state of another kind": ("nf4", state_with(quant_type="fp4")),
    "a block size of zero": ("nf4", state_with(blocksize=0)),
    "a block size of 2^62": ("nf4", state_with(blocksize=2**62)),
    "a shape that overflows": ("nf4", state_with(shape=[2**31 - 1, 2**31 - 1])),
    "a negative shape": ("nf4", state_with(shape=[-64, -64])),
    "a shape that is text": ("nf4", state_with(shape="64x64")),
    "a shape that is not the config's": ("nf4", state_with(shape=[32, 128])),
    "an unknown type": ("nf4", state_with(dtype="complex128")),
    "a nested block of three": ("nf4", state_with(nested_blocksize=3)),
    "an offset that is infinite": ("nf4", state_with(nested_offset=INF)),
    "an offset that is text": ("nf4", state_with(nested_offset="0.1")),
    "8-bit scales that are NaN": ("int8", setting(QUERY.replace("weight", "SCB"), lambda tensor: tensor * NAN)),
    "8-bit scales of another length": ("int8", setting(QUERY.replace("weight", "SCB"), torch.ones(3))),
    "8-bit codes in another order": (
        "int8",
        setting(QUERY.replace("weight", "weight_format"), torch.tensor(2, dtype=torch.uint8)),
    ),
    "8-bit codes that are numbers": ("int8", setting(QUERY, lambda tensor: tensor.float())),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_do_not_fit_are_refused(folder, case):
    kind, change = WEIGHTS[case]
    path = folder(kind)
    change(path)
    error = refused(lambda: load_network(path), path)
    assert isinstance(error, FormatError | NonFiniteError)


@pytest.mark.parametrize("quantization", [None, Quantization(), Quantization("int8")], ids=["dense", "nf4", "int8"])
def test_a_weight_that_is_not_finite_is_named_with_its_file(folder, quantization):
    path = folder("whole")
    setting(QUERY, filled(NAN))(path)
    error = refused(lambda: load_network(path, quantization=quantization), path / "model.safetensors", named=QUERY)
    assert isinstance(error, NonFiniteError)


def index_with(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def apply(folder: Path) -> None:
        path = folder / "model.safetensors.index.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return apply


def pointing_to(file: Any) -> Callable[[Path], Any]:
    return index_with(lambda document: document["weight_map"].update({QUERY: file}))


def raw_index(raw: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / "model.safetensors.index.json").write_bytes(raw)


INDICES: dict[str, Callable[[Path], Any]] = {
    "a file that climbs": pointing_to("../whole/model.safetensors"),
    "an absolute file": pointing_to("/etc/passwd"),
    "a file that is not there": pointing_to("model-00009-of-00009.safetensors"),
    "a file that is the folder": pointing_to("."),
    "an empty file name": pointing_to(""),
    "a file that is a number": pointing_to(7),
    "a file that is a list": pointing_to(["a"]),
    "the index itself": pointing_to("model.safetensors.index.json"),
    "the config": pointing_to("config.json"),
    "a tensor in the wrong file": index_with(
        lambda document: (
            document["weight_map"].update({QUERY: document["weight_map"][NORM]})
            or document["weight_map"].update({NORM: document["weight_map"]["model.embed_tokens.weight"]})
        )
    ),
    "a map that is empty": index_with(lambda document: document["weight_map"].clear()),
    "a map that is a list": index_with(lambda document: document.update(weight_map=[1])),
    "no map": index_with(lambda document: document.pop("weight_map")),
    "a list": raw_index(b"[]"),
    "no JSON": raw_index(b"{"),
    "100,000 deep": raw_index(b"[" * 100_000),
    "bad UTF-8": raw_index(b"\xff\xfe"),
}


@pytest.mark.parametrize("case", INDICES)
def test_a_hostile_list_of_shards_is_refused(folder, case):
    path = folder("sharded")
    INDICES[case](path)
    assert isinstance(refused(lambda: load_network(path), path), FormatError | MissingError)


def test_a_shard_that_links_to_itself_is_refused(folder):
    path = folder("sharded")
    shard = next(path.glob("model-*.safetensors"))
    shard.unlink()
    shard.symlink_to(shard.name)
    assert isinstance(refused(lambda: load_network(path), path, named=shard.name), FormatError | MissingError)


def test_a_folder_without_weights_says_what_is_missing(folder):
    path = folder("whole")
    (path / "model.safetensors").unlink()
    assert isinstance(refused(lambda: load_network(path), path, named="model.safetensors"), MissingError)


class Gadget:
    """A pickle that would leave a mark if it were ever opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def code_that_marks(mark: Path) -> str:
    return f"import pathlib\npathlib.Path({str(mark)!r}).mkdir()\n"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "tf_model.h5", "training_args.bin"])
def test_a_pickle_beside_the_weights_is_never_opened(folder, tmp_path, name):
    path = folder("whole")
    (path / name).write_bytes(pickle.dumps(Gadget(tmp_path / "mark")))
    with nothing_runs(path):
        load_network(path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_a_pickle_in_place_of_the_weights_is_never_opened(folder, tmp_path, name):
    path = folder("whole")
    (path / "model.safetensors").unlink()
    (path / name).write_bytes(pickle.dumps(Gadget(tmp_path / "mark")))
    with nothing_runs(path):
        refused(lambda: load_network(path), path, warm=False)
    assert not (tmp_path / "mark").exists()


def test_a_pickle_under_the_name_of_the_weights_is_refused(folder, tmp_path):
    path = folder("whole")
    (path / "model.safetensors").write_bytes(pickle.dumps(Gadget(tmp_path / "mark")))
    with nothing_runs(path):
        refused(lambda: load_network(path), path)
    assert not (tmp_path / "mark").exists()


CODE_KEYS: dict[str, dict[str, Any]] = {
    "auto_map": {"auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}},
    "a custom pipeline": {"custom_pipelines": {"text-generation": {"impl": "evil.Pipe", "pt": ["AutoModel"]}}},
    "attention from a hub": {"_attn_implementation": "evil/kernel"},
    "attention from a hub, public key": {"attn_implementation": "evil/kernel:evil"},
    "attention set inside": {"_attn_implementation_internal": "evil/kernel"},
    "experts from a hub": {"experts_implementation": "evil/kernel"},
    "a name on a hub": {"_name_or_path": "evil/model"},
}


@pytest.mark.parametrize("case", CODE_KEYS)
def test_a_config_that_asks_for_code_gets_none(folder, tmp_path, case):
    path = folder("whole")
    tiny.change_json(path / "config.json", **CODE_KEYS[case])
    (path / "evil.py").write_text(code_that_marks(tmp_path / "mark"))
    with nothing_runs(path):
        net = load_network(path)
    assert net.config._attn_implementation in ("sdpa", "eager")
    assert not (tmp_path / "mark").exists()
    assert not set(CODE_KEYS[case]) & read_model_config(path).keys()


def test_code_of_an_unknown_network_is_not_run_and_not_asked_about(folder, tmp_path):
    path = folder("whole")
    tiny.change_json(path / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Config"})
    (path / "evil.py").write_text(code_that_marks(tmp_path / "mark"))
    with nothing_runs(path):
        refused(lambda: load_network(path), path)
    assert not (tmp_path / "mark").exists()


def test_fused_experts_that_transformers_puts_together_run_no_code_either(tmp_path):
    path = tiny.save(tiny.FAMILIES["mixtral"](), tmp_path / "mixtral")
    tiny.change_json(path / "config.json", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
    (path / "evil.py").write_text(code_that_marks(tmp_path / "mark"))
    with nothing_runs(path):
        load_network(path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("number", [NAN, INF])
def test_an_expert_that_is_not_finite_is_named(tmp_path, number):
    path = tiny.save(tiny.FAMILIES["mixtral"](), tmp_path / "mixtral")
    name = next(n for n in load_file(path / "model.safetensors") if ".experts." in n)
    setting(name, filled(number))(path)
    assert isinstance(refused(lambda: load_network(path), path), NonFiniteError)


def test_an_expert_that_is_missing_is_refused(tmp_path):
    path = tiny.save(tiny.FAMILIES["mixtral"](), tmp_path / "mixtral")
    name = next(n for n in load_file(path / "model.safetensors") if ".experts." in n)
    weights_with(lambda tensors: tensors.pop(name))(path)
    assert isinstance(refused(lambda: load_network(path), path), FormatError | MissingError)
