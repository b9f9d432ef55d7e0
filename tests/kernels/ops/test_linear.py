"""Linear layers on frozen 4-bit and 8-bit weights: operator x implementation x gradient."""

from __future__ import annotations

import pytest
import torch

from trimtab.core.errors import RangeError
from trimtab.kernels import cpu, ops, reference
from trimtab.quant import quantize

SHAPES = [(1, 64), (3, 64), (5, 128), (130, 192), (7, 1088), (300, 1024), (6, 65), (9, 32), (2, 1), (33, 576)]
COUNTS = [1, 2, 3, 7, 16, 17, 40]


def apply(x, packed, **options):
    codes, absmax, table, shape, block_size, nested_absmax, nested_offset, nested_table = packed
    nested = {"nested_absmax": nested_absmax, "nested_offset": nested_offset, "nested_table": nested_table}
    return ops.linear_4bit(x, codes, absmax, table, shape=shape, block_size=block_size, **nested, **options)


def relative(ours: torch.Tensor, truth: torch.Tensor) -> float:
    return float((ours.double() - truth).norm() / truth.norm().clamp(min=1e-30))


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_exact_products_match_the_dense_weight(impl, shape, double, pack, rng):
    packed = pack(*shape, double=double)
    dense = reference.dequantize_4bit(packed, torch.float32).double()
    bias = torch.randn(shape[0], generator=rng)
    for count in COUNTS:
        x = torch.randn(count, shape[1], generator=rng)
        truth = x.double() @ dense.t() + bias
        assert relative(apply(x, packed, bias=bias, exact=True, impl=impl), truth) < 3e-6


@pytest.mark.parametrize("block_size", ops.BLOCK_SIZES)
def test_one_row_in_integers_is_within_two_ten_thousandths(impl, block_size, pack, rng):
    packed = pack(67, 1088, block_size=block_size)
    x = torch.randn(1, 1088, generator=rng) * torch.logspace(-3, 3, 1088)
    truth = x.double() @ reference.dequantize_4bit(packed, torch.float32).double().t()
    assert relative(apply(x, packed, impl=impl), truth) < 2e-4


@pytest.mark.parametrize("kind", ["fp4", "int4"])
def test_other_tables_multiply_alike(impl, kind, pack, rng):
    packed = pack(33, 128, kind=kind)
    x = torch.randn(1, 128, generator=rng)
    truth = x.double() @ reference.dequantize_4bit(packed, torch.float32).double().t()
    assert relative(apply(x, packed, impl=impl), truth) < 2e-4


@pytest.mark.parametrize("count", [1, 5, 40])
@pytest.mark.parametrize("shape", [(130, 192), (6, 65)])
def test_gradients_match_those_of_the_dense_weight(impl, shape, count, pack, rng):
    packed = pack(*shape)
    dense = reference.dequantize_4bit(packed, torch.float32)
    x = torch.randn(2, count, shape[1], generator=rng, requires_grad=True)
    bias = torch.randn(shape[0], generator=rng, requires_grad=True)
    x2, bias2 = x.detach().clone().requires_grad_(), bias.detach().clone().requires_grad_()
    seed = torch.randn(2, count, shape[0], generator=rng)
    apply(x, packed, bias=bias, impl=impl).backward(seed)
    torch.nn.functional.linear(x2, dense, bias2).backward(seed)
    torch.testing.assert_close(x.grad, x2.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(bias.grad, bias2.grad, rtol=1e-5, atol=1e-5)


def test_a_single_row_that_wants_a_gradient_is_multiplied_exactly(impl, pack, rng):
    packed = pack(64, 256)
    x = torch.randn(1, 256, generator=rng, requires_grad=True)
    truth = x.detach().double() @ reference.dequantize_4bit(packed, torch.float32).double().t()
    assert relative(apply(x, packed, impl=impl).detach(), truth) < 1e-6


def test_a_second_derivative_is_there(impl, pack, rng):
    packed = pack(6, 64)
    x = torch.randn(2, 64, generator=rng, requires_grad=True)
    grad = torch.randn(2, 6, generator=rng, requires_grad=True)
    (dx,) = torch.autograd.grad(apply(x, packed, impl=impl), x, grad, create_graph=True)
    dx.sum().backward()
    assert torch.allclose(grad.grad, reference.dequantize_4bit(packed, torch.float32).sum(1).expand(2, 6), atol=1e-4)


def test_tiles_of_a_large_matrix_join_without_a_seam(impl, pack, rng, monkeypatch):
    monkeypatch.setattr(cpu, "TILE", 5000)
    packed = pack(130, 192)
    dense = reference.dequantize_4bit(packed, torch.float32)
    x, grad = torch.randn(20, 192, generator=rng), torch.randn(20, 130, generator=rng)
    torch.testing.assert_close(apply(x, packed, impl=impl), x @ dense.t(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(ops.linear_4bit_input_grad(grad, packed, impl=impl), grad @ dense, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 4, 20])
def test_the_result_has_the_dtype_of_the_input(impl, count, dtype, pack, rng):
    packed = pack(10, 64)
    x = torch.randn(count, 64, generator=rng).to(dtype)
    y = apply(x, packed, exact=True, impl=impl)
    assert y.dtype == dtype
    truth = x.double() @ reference.dequantize_4bit(packed, torch.float32).double().t()
    assert relative(y, truth) < 5e-3


@pytest.mark.parametrize("shape", [(0, 64), (64, 0), (0, 0)])
@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_empty_weights_and_inputs_give_empty_or_zero_results(impl, shape, count, pack):
    packed = pack(*shape)
    y = apply(torch.ones(count, shape[1]), packed, impl=impl)
    assert y.shape == (count, shape[0])
    assert y.count_nonzero() == 0
    dx = ops.linear_4bit_input_grad(torch.ones(count, shape[0]), packed, impl=impl)
    assert dx.shape == (count, shape[1])
    assert dx.count_nonzero() == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_input_that_is_not_finite_is_not_hidden(impl, bad, pack):
    x = torch.ones(1, 576)
    x[0, 570] = bad
    assert not apply(x, pack(5, 576), impl=impl).isfinite().any()


def test_a_scale_that_is_not_finite_is_not_hidden(impl, pack):
    packed = pack(5, 64, double=False)
    packed.absmax[2] = float("nan")
    assert apply(torch.ones(1, 64), packed, impl=impl).isnan().tolist() == [[False, False, True, False, False]]


def test_inputs_that_are_not_contiguous_are_read_rightly(impl, pack, rng):
    packed = pack(10, 64)
    x = torch.randn(64, 3, generator=rng).t()
    y = apply(x, packed, exact=True, impl=impl)
    torch.testing.assert_close(y, apply(x.contiguous(), packed, exact=True, impl=impl))


def test_two_threads_give_the_same_bits_as_one(impl, pack, rng):
    packed = pack(515, 1024)
    x = torch.randn(1, 1024, generator=rng)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(apply(x, packed, impl=impl))
    torch.set_num_threads(before)
    if impl == "cpu":
        assert torch.equal(*results)
    else:
        torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    ("x", "bias"),
    [
        (torch.zeros(1, 63), None),
        (torch.zeros(1, 65), None),
        (torch.tensor(0.0), None),
        (torch.zeros(1, 64, dtype=torch.float64), None),
        (torch.zeros(1, 64), torch.zeros(9)),
        (torch.zeros(1, 64), torch.zeros(10, 1)),
        (torch.zeros(1, 64), torch.zeros(10, dtype=torch.float64)),
    ],
)
def test_operands_that_do_not_fit_are_refused(impl, x, bias, pack):
    with pytest.raises(RangeError, match="Allowed"):
        torch.ops.trimtab.linear_4bit(x, *pack(10, 64).spread(), bias, False, impl)


@pytest.mark.parametrize("shape", [(1, 64), (130, 192), (6, 65), (0, 64)])
@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_8bit_products_and_gradients_match_the_dense_weight(impl, shape, count, rng):
    weight = quantize(torch.randn(shape, generator=rng), kind="int8")
    dense = weight.dense(torch.float32)
    x = torch.randn(count, shape[1], generator=rng, requires_grad=True)
    x2 = x.detach().clone().requires_grad_()
    bias = torch.randn(shape[0], generator=rng)
    seed = torch.randn(count, shape[0], generator=rng)
    y = ops.linear_8bit(x, weight.codes, weight.absmax, bias, impl=impl)
    y2 = torch.nn.functional.linear(x2, dense, bias)
    torch.testing.assert_close(y, y2, rtol=1e-5, atol=1e-4)
    y.backward(seed)
    y2.backward(seed)
    torch.testing.assert_close(x.grad, x2.grad, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(700, 1100), (1100, 700), (65, 513)])
@pytest.mark.parametrize("count", [17, 61])
def test_sums_deeper_and_wider_than_a_tile_agree_with_the_dense_weight(impl, shape, count, pack, rng):
    packed = pack(*shape)
    dense = reference.dequantize_4bit(packed, torch.float32)
    x, grad = torch.randn(count, shape[1], generator=rng), torch.randn(count, shape[0], generator=rng)
    torch.testing.assert_close(apply(x, packed, impl=impl), x @ dense.t(), rtol=1e-4, atol=2e-4)
    dx = ops.linear_4bit_input_grad(grad, packed, impl=impl)
    torch.testing.assert_close(dx, grad @ dense, rtol=1e-4, atol=2e-4)
