"""Fused passes: the C code agrees with plain PyTorch, forward and backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.kernels import ops

SHAPES = [(1, 1), (3, 5), (7, 64), (2, 3, 33), (4, 576), (0, 8)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + len(shape) * 100)) * 3


def gradients(call: Any, *inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    y = call(*leaves)
    upstream = draw(*y.shape, seed=9)
    return y.detach(), list(torch.autograd.grad(y, leaves, upstream))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_rms_norm_equals_its_formula_forward_and_backward(shape: tuple[int, ...], offset: float, impl: str) -> None:
    x, weight = draw(*shape), draw(shape[-1], seed=1)

    def formula(x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * (weight + offset)

    y, grads = gradients(lambda x, w: ops.rms_norm(x, w, offset=offset, eps=1e-5, impl=impl), x, weight)
    expected, expected_grads = gradients(formula, x, weight)
    torch.testing.assert_close(y, expected, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(grads, expected_grads, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_gated_silu_equals_its_formula_forward_and_backward(shape: tuple[int, ...], impl: str) -> None:
    gate, up = draw(*shape), draw(*shape, seed=2)
    y, grads = gradients(lambda g, u: ops.gated_silu(g, u, impl=impl), gate, up)
    expected, expected_grads = gradients(lambda g, u: torch.nn.functional.silu(g) * u, gate, up)
    torch.testing.assert_close(y, expected, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(grads, expected_grads, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [-1e4, -100.0, -87.5, 0.0, 87.5, 100.0, 1e4])
def test_gated_silu_stays_finite_at_extreme_gates(value: float, impl: str) -> None:
    y = ops.gated_silu(torch.full((19,), value), torch.ones(19), impl=impl)
    torch.testing.assert_close(y, torch.full((19,), max(value, 0.0)), rtol=1e-6, atol=1e-30)


def test_gated_silu_passes_nan_on_instead_of_hiding_it(impl: str) -> None:
    gate = torch.tensor([1.0, float("nan")] * 10)
    assert ops.gated_silu(gate, torch.ones(20), impl=impl).isnan().tolist() == [False, True] * 10


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("rms_norm", (draw(3, 8), draw(8), 0.0, 1e-6, "auto")),
        ("gated_silu", (draw(3, 8), draw(3, 8), "auto")),
    ],
)
def test_operator_passes_opcheck(name: str, arguments: tuple[Any, ...]) -> None:
    learning = (arguments[0].clone().requires_grad_(), *arguments[1:])
    torch.library.opcheck(getattr(torch.ops.trimtab, name).default, learning)


def test_wrong_shapes_and_types_are_refused_before_any_pointer_is_used() -> None:
    with pytest.raises(RangeError, match="Allowed: float32"):
        torch.ops.trimtab.rms_norm(draw(2, 4), draw(5), 0.0, 1e-6, "auto")
    with pytest.raises(RangeError, match="Allowed: float32"):
        torch.ops.trimtab.gated_silu(draw(2, 4), draw(2, 5), "auto")
    with pytest.raises(RangeError, match=r"up is torch\.float64"):
        torch.ops.trimtab.gated_silu(draw(2, 4), draw(2, 4).double(), "auto")
