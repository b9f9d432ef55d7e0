"""Quantize and dequantize in 8 bits, on every implementation."""

from __future__ import annotations

import pytest
import torch

from trimtab.core.errors import RangeError
from trimtab.kernels import ops, reference
from trimtab.quant import dynamic_map


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 5000])
def test_every_implementation_quantizes_blocks_to_the_same_bytes(impl, count, signed, grid, rng):
    values = torch.randn(count, generator=rng)
    values[300:600] = 0
    values = values if signed else values.abs()
    codes, absmax = ops.quantize_8bit(values, dynamic_map(signed), block_size=256, grid=grid, impl=impl)
    expected = reference.quantize_8bit(values, dynamic_map(signed), 256, grid)
    assert torch.equal(codes, expected[0])
    assert torch.equal(absmax, expected[1])


@pytest.mark.parametrize("count", [0, 1, 255, 257, 5000])
def test_every_implementation_dequantizes_blocks_to_the_same_bits(impl, count, rng):
    codes, absmax = reference.quantize_8bit(torch.randn(count, generator=rng), dynamic_map(True), 256, False)
    values = ops.dequantize_8bit(codes, absmax, dynamic_map(True), block_size=256, impl=impl)
    assert torch.equal(values, reference.dequantize_8bit(codes, absmax, dynamic_map(True), 256))


def test_blocks_keep_the_shape_of_the_values(impl, rng):
    codes, absmax = ops.quantize_8bit(torch.randn(3, 5, 7, generator=rng), dynamic_map(True), block_size=16, impl=impl)
    assert codes.shape == (3, 5, 7)
    assert absmax.shape == (7,)


def test_entries_of_the_table_come_back_unchanged(impl):
    table = dynamic_map(True)
    codes, absmax = ops.quantize_8bit(table, table, block_size=256, impl=impl)
    assert torch.equal(ops.dequantize_8bit(codes, absmax, table, block_size=256, impl=impl), table)


def test_the_grid_blurs_what_is_nearest_to_zero(impl):
    values = torch.tensor([1.0, 1e-6])
    fine, _ = ops.quantize_8bit(values, dynamic_map(True), block_size=256, impl=impl)
    coarse, _ = ops.quantize_8bit(values, dynamic_map(True), block_size=256, grid=True, impl=impl)
    assert dynamic_map(True)[fine[1].int()] < 2e-6 < dynamic_map(True)[coarse[1].int()]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (1, 1), (3, 65), (130, 64)])
def test_every_implementation_gives_the_same_rows(impl, shape, rng):
    weight = torch.randn(shape, generator=rng)
    codes, absmax = ops.quantize_rows(weight, impl=impl)
    expected = reference.quantize_rows(weight)
    assert torch.equal(codes, expected[0])
    assert torch.equal(absmax, expected[1])
    assert torch.equal(ops.dequantize_rows(codes, absmax, impl=impl), reference.dequantize_rows(codes, absmax))


def test_a_zero_row_has_zero_codes(impl):
    codes, absmax = ops.quantize_rows(torch.zeros(2, 8), impl=impl)
    assert codes.count_nonzero() == 0
    assert absmax.tolist() == [0.0, 0.0]


OPS = torch.ops.trimtab


def test_sizes_that_do_not_fit_are_refused(impl):
    codes = torch.zeros(257, dtype=torch.uint8)
    with pytest.raises(RangeError, match="absmax"):
        OPS.dequantize_8bit(codes, torch.zeros(1), dynamic_map(True), 256, impl)
    with pytest.raises(RangeError, match="block_size"):
        OPS.dequantize_8bit(codes, torch.zeros(1), dynamic_map(True), 0, impl)
    with pytest.raises(RangeError, match="table"):
        OPS.quantize_8bit(torch.zeros(4), torch.zeros(255), 256, False, impl)
    with pytest.raises(RangeError, match="absmax"):
        OPS.dequantize_rows(torch.zeros(2, 2, dtype=torch.int8), torch.zeros(3), impl)
    with pytest.raises(RangeError, match="two dimensions"):
        OPS.quantize_rows(torch.zeros(4), impl)
