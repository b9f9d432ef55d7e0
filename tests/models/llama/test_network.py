"""The frame of a network: transformers' names and shapes, and the same answers."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from llama_family import NETWORKS
from trimtab.core.errors import FormatError
from trimtab.models.decoder import Read
from trimtab.models.decoders import decoder_of, load_decoder, load_to_answer
from trimtab.models.llama.description import describe
from trimtab.models.llama.network import LlamaNetwork
from trimtab.models.load import Quantization, load_network
from trimtab.nn.lora import LoraSettings, add_lora
from trimtab.store.adapter import load_adapter, save_adapter


def logits(decoder, adapter=None):
    return decoder.read([Read(decoder.start(adapter), tuple(range(40)), "all")])[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_frame_has_the_names_and_shapes_of_transformers(tmp_path, name):
    net = NETWORKS[name]()
    frame = LlamaNetwork(describe(tiny.save(net, tmp_path)))
    assert {n: t.shape for n, t in frame.state_dict().items()} == {n: t.shape for n, t in net.state_dict().items()}
    assert all(tensor.is_meta for tensor in frame.state_dict().values())


@pytest.mark.parametrize("quantization", [None, Quantization()], ids=["as stored", "nf4"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_frame_answers_with_the_bits_of_the_whole_network(tmp_path, name, quantization):
    folder = tiny.save(NETWORKS[name](), tmp_path)
    whole = decoder_of(load_network(folder, quantization=quantization))
    net = load_to_answer(folder, quantization=quantization)
    assert isinstance(net, LlamaNetwork)
    assert torch.equal(logits(decoder_of(net)), logits(whole))


def test_an_adapter_fits_a_frame(tmp_path):
    net = tiny.llama()
    folder = tiny.save(net, tmp_path / "base")
    add_lora(net, LoraSettings(rank=2))
    tiny.tune(net)
    adapter = save_adapter(net, tmp_path / "adapter")
    whole = decoder_of(load_adapter(load_network(folder), adapter, adapter="mine"))
    assert torch.equal(logits(load_decoder(folder, adapters={"mine": adapter}), "mine"), logits(whole, "mine"))


@pytest.mark.parametrize("tied", [True, False])
def test_tensors_that_nobody_needs_are_passed_over(tmp_path, tied):
    folder = tiny.save(tiny.llama(tied=tied), tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    before = logits(load_decoder(folder))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert isinstance(load_to_answer(folder), LlamaNetwork)
    assert torch.equal(logits(load_decoder(folder)), before)


def test_a_network_whose_tensors_have_other_names_comes_whole(tmp_path):
    folder = tiny.save(tiny.llama(), tmp_path)
    tensors = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    save_file(bare, folder / "model.safetensors", metadata={"format": "pt"})
    assert not isinstance(load_to_answer(folder), LlamaNetwork)


@pytest.mark.parametrize("changes", [{"hidden_act": "gelu"}, {"num_key_value_heads": None}])
def test_a_network_that_the_lean_decoder_does_not_run_comes_whole(tmp_path, changes):
    folder = tiny.save(tiny.llama(num_key_value_heads=4), tmp_path)
    tiny.change_json(folder / "config.json", **changes)
    assert not isinstance(load_to_answer(folder), LlamaNetwork)


def test_a_tensor_of_another_shape_is_refused(tmp_path):
    folder = tiny.save(tiny.llama(), tmp_path)
    tiny.change_json(folder / "config.json", intermediate_size=tiny.INNER + 2)
    with pytest.raises(FormatError, match="the config says"):
        load_to_answer(folder)
