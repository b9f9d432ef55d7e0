"""Fused experts: quantized one by one, used through the network's own forward, refused where they cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tiny
from trimtab.core.errors import NonFiniteError, RangeError
from trimtab.nn.experts import QuantizedExperts, expert_stacks, quantize_experts
from trimtab.nn.linear import linear_names
from trimtab.nn.lora import LoraSettings, add_lora


def stack(kind: str = "nf4") -> tuple[torch.Tensor, QuantizedExperts]:
    weight = torch.randn(3, 32, 64, generator=torch.Generator().manual_seed(0))
    return weight, QuantizedExperts(weight, kind=kind, block_size=64, double=True)


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int4", "int8"])
@pytest.mark.parametrize("index", [0, torch.tensor(2)], ids=["number", "tensor"])
def test_linear_with_one_expert_uses_its_quantized_weight(kind, index):
    _, experts = stack(kind)
    x = torch.randn(5, 64)
    dense = experts.experts[int(index)].quantized.dense(torch.float32)
    torch.testing.assert_close(nn.functional.linear(x, experts[index]), x @ dense.T, atol=1e-5, rtol=1e-5)


def test_a_bias_is_added():
    _, experts = stack()
    x, bias = torch.randn(5, 64), torch.randn(32)
    plain = nn.functional.linear(x, experts[1])
    torch.testing.assert_close(nn.functional.linear(x, experts[1], bias), plain + bias)


def test_a_gradient_flows_through_an_expert_to_its_input():
    _, experts = stack()
    x = torch.randn(5, 64, requires_grad=True)
    nn.functional.linear(x, experts[1]).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_any_other_use_of_an_expert_is_refused_rather_than_made_dense():
    _, experts = stack()
    with pytest.raises(RangeError, match="matmul"):
        torch.matmul(torch.randn(5, 64), experts[0])


def test_a_stack_has_the_shape_and_type_of_what_it_replaces():
    weight, experts = stack()
    assert (experts.shape, experts.dtype) == (weight.shape, weight.dtype)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_no_expert_of_a_network_stays_dense(family):
    net = tiny.FAMILIES[family]()
    names = quantize_experts(net)
    assert len(names) == 2 * tiny.LAYERS
    assert expert_stacks(net) == []


def test_an_expert_that_is_not_finite_is_named():
    net = tiny.FAMILIES["mixtral"]()
    with torch.no_grad():
        net.model.layers[1].mlp.experts.down_proj[2, 0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"layers\.1\.mlp\.experts\.down_proj\[2\]"):
        quantize_experts(net)


def test_transposed_experts_are_refused_by_name():
    with pytest.raises(RangeError, match=r"experts\.gate_up_proj"):
        quantize_experts(tiny.UNUSUAL["gpt_oss"]())


def test_adapters_leave_experts_alone():
    net = tiny.FAMILIES["mixtral"]()
    quantize_experts(net)
    assert not any("experts" in name for name in linear_names(net))
    add_lora(net, LoraSettings(rank=2))
    tiny.logits(net, tiny.token_ids())


def test_a_network_without_experts_is_left_alone():
    assert quantize_experts(tiny.llama()) == []
