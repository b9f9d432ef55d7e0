"""Quantizing one weight, and making it dense again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.core.errors import NonFiniteError, RangeError
from trimtab.quant import FOUR_BIT_KINDS, KINDS, levels, quantize, refuse_non_finite


def weight(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(8)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_dense_has_the_shape_and_dtype_of_the_original(kind, dtype):
    dense = quantize(weight(3, 5, 64, dtype=dtype), kind=kind).dense()
    assert dense.shape == (3, 5, 64)
    assert dense.dtype == dtype


def test_dense_takes_another_dtype():
    assert quantize(weight(4, 64)).dense(torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", FOUR_BIT_KINDS)
def test_no_error_is_larger_than_half_the_widest_gap(kind):
    original = weight(64, 64)
    quantized = quantize(original, kind=kind, double=False)
    widest = levels(kind).sort().values.diff().max()
    room = quantized.absmax.repeat_interleave(64).view(64, 64) * widest / 2
    assert ((quantized.dense() - original).abs() <= room * 1.0001).all()


def test_the_weight_is_left_as_it_was():
    original = weight(8, 64)
    before = original.clone()
    quantize(original)
    assert torch.equal(original, before)


def test_double_quantization_costs_a_third_of_a_bit_less():
    sizes = {double: quantize(weight(512, 512), double=double).nbytes * 8 / 512**2 for double in (True, False)}
    assert sizes[False] == 4.5
    assert sizes[True] == pytest.approx(4.127, abs=1e-3)


def test_scales_survive_double_quantization_to_about_one_percent():
    original = weight(1024, 1024)
    plain, double = quantize(original, double=False), quantize(original)
    ratio = (double.dense() / plain.dense())[plain.dense() != 0]
    assert (ratio - 1).abs().max() < 0.02


def test_quantizing_a_dense_result_again_changes_nothing():
    once = quantize(weight(32, 64), double=False)
    again = quantize(once.dense(), double=False)
    assert torch.equal(once.codes, again.codes)
    assert torch.equal(once.absmax, again.absmax)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_refused_by_name_and_place(bad):
    original = weight(4, 64)
    original[2, 7] = bad
    with pytest.raises(NonFiniteError, match=r"layers\.0\.q_proj\[2, 7\] is"):
        quantize(original, name="layers.0.q_proj")


def test_weights_whose_sum_overflows_are_still_finite():
    for large in (torch.full((4,), 3e38), torch.full((4,), 6e4, dtype=torch.float16)):
        assert large.sum().isinf()
        refuse_non_finite(large, "w")


def test_an_empty_weight_quantizes_to_nothing():
    assert quantize(torch.zeros(0, 64)).dense().shape == (0, 64)
    assert quantize(torch.zeros(0, 64), kind="int8").dense().shape == (0, 64)


def test_a_single_number_comes_back_to_within_rounding():
    assert quantize(torch.tensor(3.0)).dense().item() == pytest.approx(3.0, rel=1e-6)


def test_a_strange_block_size_is_refused():
    with pytest.raises(RangeError, match="block_size=100"):
        quantize(weight(4, 64), block_size=100)


def test_int8_is_not_packed_in_4_bits():
    with pytest.raises(RangeError, match="int8"):
        quantize(weight(4, 64), kind="int8").packed()


def test_a_quantized_weight_cannot_be_changed():
    with pytest.raises(AttributeError):
        quantize(weight(4, 64)).kind = "fp4"


def test_moving_to_a_device_keeps_everything():
    quantized = quantize(weight(4, 64))
    moved = quantized.to("cpu")
    assert torch.equal(moved.dense(), quantized.dense())
    assert moved.double


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    cols=st.integers(1, 150),
    kind=st.sampled_from(KINDS),
    block_size=st.sampled_from([32, 64, 128]),
    double=st.booleans(),
    scale=st.floats(1e-6, 1e6),
)
def test_any_shape_comes_back_within_the_largest_weight(rows, cols, kind, block_size, double, scale):
    original = weight(rows, cols) * scale
    dense = quantize(original, kind=kind, block_size=block_size, double=double).dense()
    assert dense.shape == original.shape
    assert (dense - original).abs().max() <= original.abs().max() * 0.25
