"""Every family of networks: loaded, quantized, adapted, and its loss equal to transformers' own."""

from __future__ import annotations

import pytest
import torch

import tiny
from trimtab.core.errors import RangeError
from trimtab.models.language_model import LanguageModel
from trimtab.models.load import Quantization, load_network
from trimtab.nn.experts import QuantizedExperts
from trimtab.nn.freeze import fingerprint, trainable
from trimtab.nn.linear import QuantizedLinear
from trimtab.nn.lora import LoraSettings, add_lora

FAMILIES = list(tiny.FAMILIES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of every family, each written once."""
    made = {}

    def folder(family: str):
        if family not in made:
            made[family] = tiny.save(tiny.FAMILIES[family](), tmp_path_factory.mktemp(family))
        return made[family]

    return folder


def labels_of(ids: torch.Tensor) -> torch.Tensor:
    labels = ids.clone()
    labels[0, :5] = -100
    return labels


def own_loss(net: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """The loss that transformers computes, without the share that balances experts."""
    extra = {} if net.config.is_encoder_decoder else {"use_cache": False}
    return net(input_ids=ids, labels=labels_of(ids), **extra).loss


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loaded_network_has_the_logits_of_the_saved_one(folders, family):
    net, ids = tiny.FAMILIES[family](), tiny.token_ids()
    torch.testing.assert_close(tiny.logits(load_network(folders(family)), ids), tiny.logits(net, ids))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_transformers(folders, family):
    net, ids = load_network(folders(family)), tiny.token_ids()
    loss, targets = LanguageModel(net).loss_sum({"input_ids": ids}, labels_of(ids))
    assert abs((loss / targets).item() - own_loss(net, ids).item()) < 5e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_of_the_quantized_network_is_that_of_transformers(folders, family):
    net, ids = load_network(folders(family), quantization=Quantization()), tiny.token_ids()
    loss, targets = LanguageModel(net).loss_sum({"input_ids": ids}, labels_of(ids))
    assert abs((loss / targets).item() - own_loss(net, ids).item()) < 5e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_no_weight_of_a_layer_is_left_in_16_or_32_bits(folders, family):
    net = load_network(folders(family), quantization=Quantization())
    head, embedding = net.get_output_embeddings(), net.get_input_embeddings()
    exempt = {id(parameter) for module in (head, embedding) for parameter in module.parameters()}
    dense = [name for name, p in net.named_parameters() if p.dim() > 1 and id(p) not in exempt]
    small = ("gate.weight", "router.weight", "relative_attention_bias.weight", "embed_positions.weight")
    assert [name for name in dense if not name.endswith(small)] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_the_quantized_network_is_near_the_dense_one(folders, family):
    ids = tiny.token_ids()
    dense = tiny.logits(load_network(folders(family)), ids)
    error = tiny.logits(load_network(folders(family), quantization=Quantization("int8")), ids) - dense
    assert 0 < error.square().mean().sqrt() < 0.05 * dense.square().mean().sqrt()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_on_4_bits_learns_and_the_base_keeps_its_bytes(folders, family):
    net = load_network(folders(family), quantization=Quantization())
    add_lora(net, LoraSettings(rank=4, alpha=8))
    before, ids, model = fingerprint(net), tiny.token_ids(), LanguageModel(net)
    optimizer = torch.optim.AdamW(trainable(net).values(), lr=1e-2)
    losses = []
    for _ in range(4):
        loss, targets = model.loss_sum({"input_ids": ids}, labels_of(ids))
        (loss / targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert fingerprint(net) == before


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_fused_experts_are_quantized_one_by_one(folders, family):
    net = load_network(folders(family), quantization=Quantization())
    stacks = {name: module for name, module in net.named_modules() if isinstance(module, QuantizedExperts)}
    assert len(stacks) == 2 * tiny.LAYERS
    assert all(isinstance(expert, QuantizedLinear) for stack in stacks.values() for expert in stack.experts)


def test_experts_that_are_kept_the_other_way_round_are_refused_by_name(tmp_path):
    source = tiny.save(tiny.UNUSUAL["gpt_oss"](), tmp_path / "source")
    with pytest.raises(RangeError, match=r"gate_up_proj.*\(in, out\)"):
        load_network(source, quantization=Quantization())


def test_a_network_without_linear_layers_says_so(tmp_path):
    source = tiny.save(tiny.UNUSUAL["gpt2"](), tmp_path / "source")
    with pytest.raises(RangeError, match="Conv1D"):
        load_network(source, quantization=Quantization())
