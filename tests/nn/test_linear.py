"""Quantized linear layers: what they compute, where gradients go, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tiny
from trimtab.core.errors import MissingError, NonFiniteError, RangeError
from trimtab.nn.linear import QuantizedLinear, linear_names, quantize_linears, set_exact
from trimtab.quant import KINDS, quantize


def layer(kind: str = "nf4", *, bias: bool = True) -> tuple[nn.Linear, QuantizedLinear]:
    torch.manual_seed(0)
    dense = nn.Linear(128, 48, bias=bias)
    return dense, QuantizedLinear(quantize(dense.weight, kind=kind), dense.bias)


@pytest.mark.parametrize("shape", [(128,), (1, 128), (3, 128), (2, 5, 128), (40, 128)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_that_of_the_dequantized_weight(kind, shape):
    dense, quantized = layer(kind)
    x = torch.randn(shape)
    expected = nn.functional.linear(x, quantized.quantized.dense(torch.float32), dense.bias)
    torch.testing.assert_close(quantized(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_reaches_the_input_as_through_the_dequantized_weight(kind):
    _, quantized = layer(kind)
    x = torch.randn(4, 128, requires_grad=True)
    quantized(x).square().sum().backward()
    y = nn.functional.linear(x.detach(), quantized.quantized.dense(torch.float32), quantized.bias)
    torch.testing.assert_close(x.grad, 2 * y @ quantized.quantized.dense(torch.float32), atol=1e-4, rtol=1e-4)


def test_nothing_of_a_quantized_layer_learns():
    assert list(layer()[1].parameters()) == []


def test_a_change_of_type_leaves_codes_and_scales_as_they_are():
    _, quantized = layer()
    before = {name: buffer.clone() for name, buffer in quantized.named_buffers()}
    quantized.half().double()
    assert all(torch.equal(buffer, before[name]) for name, buffer in quantized.named_buffers())


def test_a_state_dict_gives_the_same_layer_back():
    _, quantized = layer()
    other = QuantizedLinear(quantize(torch.randn(48, 128)), torch.zeros(48))
    other.load_state_dict(quantized.state_dict())
    x = torch.randn(3, 128)
    assert torch.equal(other(x), quantized(x))


def test_fast_arithmetic_stays_near_the_exact_one():
    net = nn.Sequential(layer()[1])
    x = torch.randn(1, 128)
    with torch.no_grad():
        exact, fast = net(x), set_exact(net, False)(x)
    assert (fast - exact).abs().max() < 2e-3 * exact.abs().max()


def test_every_linear_layer_but_the_head_is_replaced():
    net = quantize_linears(tiny.llama())
    assert [n for n, m in net.named_modules() if isinstance(m, nn.Linear)] == ["lm_head"]
    assert sum(isinstance(m, QuantizedLinear) for m in net.modules()) == 7 * tiny.LAYERS


def test_each_replaced_layer_is_told():
    told: list[str] = []
    quantize_linears(tiny.llama(), on_layer=lambda name, weight: told.append(name))
    assert told == linear_names(tiny.llama())


def test_any_module_can_be_quantized():
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    assert [type(m) for m in quantize_linears(net, kind="int8")] == [QuantizedLinear, nn.ReLU, QuantizedLinear]


def test_a_network_without_linear_layers_is_refused():
    with pytest.raises(MissingError, match=r"no torch\.nn\.Linear"):
        quantize_linears(nn.Sequential(nn.ReLU()))


def test_transposed_layers_are_refused_rather_than_passed_over():
    with pytest.raises(RangeError, match="Conv1D"):
        quantize_linears(tiny.UNUSUAL["gpt2"]())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_named(bad):
    net = tiny.llama()
    with torch.no_grad():
        net.model.layers[1].mlp.up_proj.weight[3, 5] = bad
    with pytest.raises(NonFiniteError, match=r"model\.layers\.1\.mlp\.up_proj\.weight\[3, 5\]"):
        quantize_linears(net)


def test_a_quantized_layer_prints_what_it_is():
    assert "nf4, block_size=64, double" in repr(layer()[1])
