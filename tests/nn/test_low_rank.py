"""The adapted layer as one node: its value and gradients are those of the formula, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trimtab.nn.linear import QuantizedLinear, quantize_linears
from trimtab.nn.low_rank import adapted

ROWS, INPUTS, OUTPUTS, RANK, SCALING = 9, 128, 96, 4, 0.5


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def base_of(kind: str, *, bias: bool) -> tuple[nn.Linear | QuantizedLinear, Tensor]:
    """Give a frozen layer and its dense weight."""
    layer = nn.Linear(INPUTS, OUTPUTS, bias=bias).requires_grad_(False)
    layer.weight.copy_(draw(OUTPUTS, INPUTS, seed=3))
    if kind == "dense":
        return layer, layer.weight
    holder = quantize_linears(nn.Sequential(layer), kind=kind)
    return holder[0], holder[0].quantized.dense()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["dense", "nf4", "int8"])
def test_value_and_gradients_are_those_of_the_formula(kind: str, bias: bool) -> None:
    base, weight = base_of(kind, bias=bias)
    leaves = [draw(ROWS, INPUTS, seed=0), draw(RANK, INPUTS, seed=1), draw(OUTPUTS, RANK, seed=2)]
    upstream = draw(ROWS, OUTPUTS, seed=4)

    exact = [leaf.double().requires_grad_() for leaf in leaves]
    x, a, b = exact
    expected = x @ weight.double().t() + SCALING * (x @ a.t()) @ b.t()
    if bias:
        expected = expected + base.bias.double()
    expected_grads = torch.autograd.grad(expected, exact, upstream.double())

    ours = [leaf.requires_grad_() for leaf in leaves]
    found = adapted(ours[0], base, ours[1], ours[2], SCALING)
    found_grads = torch.autograd.grad(found, ours, upstream)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    for got, wanted in zip(found_grads, expected_grads, strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-3)
