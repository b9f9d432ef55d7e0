"""The operators of adapters: each implementation against the formula in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.kernels import ops, reference

SIZES = [(1, 64, 64), (11, 65, 7), (12, 576, 192), (49, 33, 130), (100, 192, 520), (130, 8, 1)]
RANKS = [1, 4, 16, 17, 40]


def relative(ours: Tensor, truth: Tensor) -> float:
    return float((ours.double() - truth).norm() / truth.norm().clamp(min=1e-30))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
def test_narrow_image_equals_its_formula(impl, rows, inputs, outputs, rank, rng):
    x, a = torch.randn(rows, inputs, generator=rng), torch.randn(rank, inputs, generator=rng)
    assert relative(ops.low_rank_down(x, a, impl=impl), x.double() @ a.double().t()) < 2e-6


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
def test_gradients_equal_their_formulas(impl, rows, inputs, outputs, rank, threads, rng):
    before = torch.get_num_threads()
    grad, x = torch.randn(rows, outputs, generator=rng), torch.randn(rows, inputs, generator=rng)
    low, b = torch.randn(rows, rank, generator=rng), torch.randn(outputs, rank, generator=rng)
    torch.set_num_threads(threads)
    try:
        low_grad, a_grad, b_grad = ops.low_rank_grads(grad, x, low, b, scaling=0.5, impl=impl)
    finally:
        torch.set_num_threads(before)
    expected = 0.5 * grad.double() @ b.double()
    assert relative(low_grad, expected) < 2e-6
    assert relative(a_grad, expected.t() @ x.double()) < 5e-6
    assert relative(b_grad, 0.5 * grad.double().t() @ low.double()) < 5e-6


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
def test_low_rank_product_is_added_to_the_layer_forward_and_back(impl, rows, inputs, outputs, rank, pack, rng):
    packed = pack(outputs, inputs)
    dense = reference.dequantize_4bit(packed, torch.float32).double()
    x, grad = torch.randn(rows, inputs, generator=rng), torch.randn(rows, outputs, generator=rng)
    low, bias = torch.randn(rows, rank, generator=rng), torch.randn(outputs, generator=rng)
    a, b = torch.randn(rank, inputs, generator=rng), torch.randn(outputs, rank, generator=rng)
    y = ops.product_4bit_beside(x, packed, low=low, factor=b, scaling=0.5, bias=bias, impl=impl)
    assert relative(y, x.double() @ dense.t() + bias + 0.5 * low.double() @ b.double().t()) < 3e-6
    dx = ops.product_4bit_beside(grad, packed, low=low, factor=a, turned=False, impl=impl)
    assert relative(dx, grad.double() @ dense + low.double() @ a.double()) < 3e-6


def test_transposed_inputs_are_read_as_what_they_mean(impl, rng):
    x, a = torch.randn(64, 30, generator=rng).t(), torch.randn(64, 5, generator=rng).t()
    assert relative(ops.low_rank_down(x, a, impl=impl), x.double() @ a.double().t()) < 2e-6


def test_no_rows_give_no_rows_and_zero_gradients(impl):
    low = ops.low_rank_down(torch.empty(0, 8), torch.ones(2, 8), impl=impl)
    empty = torch.empty(0, 4), torch.empty(0, 8), low, torch.ones(4, 2)
    low_grad, a_grad, b_grad = ops.low_rank_grads(*empty, scaling=1.0, impl=impl)
    assert low.shape == low_grad.shape == (0, 2)
    assert not a_grad.any()
    assert not b_grad.any()


def test_a_value_that_is_not_finite_reaches_the_result(impl, rng):
    x, a = torch.randn(13, 64, generator=rng), torch.randn(3, 64, generator=rng)
    x[4, 5] = float("nan")
    low = ops.low_rank_down(x, a, impl=impl)
    assert low[4].isnan().all()
    assert low[:4].isfinite().all()


def test_factors_that_do_not_fit_are_refused(pack):
    packed, x, low, bare = pack(4, 64), torch.ones(3, 64), torch.ones(3, 2), torch.ops.trimtab
    with pytest.raises(RangeError, match=r"a is \[5, 64\].*Allowed here: \[5, 32\]"):
        bare.low_rank_down(torch.ones(3, 32), torch.ones(5, 64), "auto")
    with pytest.raises(RangeError, match="factor is"):
        ops.product_4bit_beside(x, packed, low=low, factor=torch.ones(2, 4))
    with pytest.raises(RangeError, match=r"grad is .*float64"):
        bare.low_rank_grads(torch.ones(3, 4).double(), x, low, torch.ones(4, 2), 1.0, "auto")


def test_a_bias_in_the_backward_direction_is_refused(pack):
    low, factor = torch.ones(3, 2), torch.ones(2, 64)
    with pytest.raises(RangeError, match="a gradient has no bias"):
        ops.product_4bit_beside(torch.ones(3, 4), pack(4, 64), low=low, factor=factor, bias=torch.ones(4), turned=False)
