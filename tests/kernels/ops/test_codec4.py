"""Quantize and dequantize in 4 bits, on every implementation."""

from __future__ import annotations

import pytest
import torch

from trimtab.core.errors import RangeError
from trimtab.kernels import ops, reference
from trimtab.quant import levels, quantize

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SIZES = [0, 1, 2, 31, 32, 33, 63, 64, 65, 127, 129, 4095, 4097, 70_001]


def as_row(codes, absmax, count, block_size, kind="nf4"):
    return ops.Packed4bit(codes, absmax, levels(kind), (1, count), block_size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", SIZES)
def test_every_implementation_quantizes_to_the_same_bytes(impl, count, dtype, rng):
    weight = torch.randn(count, generator=rng).to(dtype)
    for kind in ("nf4", "fp4", "int4"):
        codes, absmax = ops.quantize_4bit(weight, levels(kind), block_size=64, impl=impl)
        expected = reference.quantize_4bit(weight, levels(kind), 64)
        assert torch.equal(codes, expected[0])
        assert torch.equal(absmax, expected[1])


@pytest.mark.parametrize("block_size", ops.BLOCK_SIZES)
def test_every_block_size_quantizes_to_the_same_bytes(impl, block_size, rng):
    weight = torch.randn(3 * block_size + 5, generator=rng)
    codes, absmax = ops.quantize_4bit(weight, levels("nf4"), block_size=block_size, impl=impl)
    expected = reference.quantize_4bit(weight, levels("nf4"), block_size)
    assert torch.equal(codes, expected[0])
    assert torch.equal(absmax, expected[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", SIZES)
def test_every_implementation_dequantizes_to_the_same_bits(impl, count, dtype, rng):
    for double in (False, True):
        packed = quantize(torch.randn(1, count, generator=rng), double=double).packed()
        assert torch.equal(
            ops.dequantize_4bit(packed, dtype=dtype, impl=impl), reference.dequantize_4bit(packed, dtype)
        )


def test_a_matrix_beyond_the_caches_dequantizes_to_the_same_bits(impl, rng):
    packed = quantize(torch.randn(1025, 8192, generator=rng)).packed()
    assert torch.equal(ops.dequantize_4bit(packed, impl=impl), reference.dequantize_4bit(packed, torch.float32))


def test_values_that_round_oddly_to_half_precision_do_so_everywhere(impl):
    scales = torch.tensor([1e-8, 6e-8, 6.1e-5, 1e-4, 65519.0, 65520.0, 1e38, 0.0])
    packed = as_row(torch.arange(256, dtype=torch.uint8).repeat(2)[:256], scales, 512, 64)
    for dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(
            ops.dequantize_4bit(packed, dtype=dtype, impl=impl), reference.dequantize_4bit(packed, dtype)
        )


def test_first_of_a_pair_is_the_high_nibble(impl):
    codes, _ = ops.quantize_4bit(torch.tensor([1.0, -1.0]), levels("nf4"), block_size=64, impl=impl)
    assert codes.tolist() == [0xF0]


def test_an_odd_tail_is_filled_with_the_code_of_zero(impl):
    codes, _ = ops.quantize_4bit(torch.tensor([1.0]), levels("nf4"), block_size=64, impl=impl)
    assert codes.tolist() == [0xF7]


def test_a_tie_goes_to_the_lower_level(impl):
    table = levels("nf4")
    middle = (table[9] + table[10]) / 2
    weight = torch.zeros(64)
    weight[0], weight[1] = 1.0, middle
    codes, _ = ops.quantize_4bit(weight, table, block_size=64, impl=impl)
    assert codes[0] & 15 == 9


def test_a_zero_block_stays_zero(impl):
    codes, absmax = ops.quantize_4bit(torch.zeros(64), levels("nf4"), block_size=64, impl=impl)
    assert absmax.tolist() == [0.0]
    assert ops.dequantize_4bit(as_row(codes, absmax, 64, 64), impl=impl).count_nonzero() == 0


def test_dequantize_writes_to_the_room_it_is_given(impl, pack):
    packed = pack(3, 70)
    room = torch.empty(3, 70)
    assert ops.dequantize_4bit(packed, out=room, impl=impl) is room
    assert torch.equal(room, reference.dequantize_4bit(packed, torch.float32))


def test_a_weight_that_is_not_contiguous_is_read_in_row_major_order(impl, rng):
    weight = torch.randn(64, 32, generator=rng)
    straight, _ = ops.quantize_4bit(weight.t().contiguous(), levels("nf4"), block_size=64, impl=impl)
    turned, _ = ops.quantize_4bit(weight.t(), levels("nf4"), block_size=64, impl=impl)
    assert torch.equal(straight, turned)


def test_relative_error_is_that_of_the_paper(rng):
    weight = torch.randn(1024, 1024, generator=rng)
    for kind, block_size, expected in [("nf4", 64, 0.0920), ("fp4", 64, 0.1219), ("nf4", 256, 0.0987)]:
        dense = quantize(weight, kind=kind, block_size=block_size, double=False).dense()
        assert (dense - weight).norm() / weight.norm() == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("block_size", [0, -64, 48, 8192])
def test_a_strange_block_size_is_refused(impl, block_size):
    with pytest.raises(RangeError, match="block_size"):
        ops.quantize_4bit(torch.zeros(64), levels("nf4"), block_size=block_size, impl=impl)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("codes", torch.zeros(31, dtype=torch.uint8)),
        ("codes", torch.zeros(32, dtype=torch.int8)),
        ("codes", torch.zeros(64, dtype=torch.uint8)[::2]),
        ("absmax", torch.zeros(0)),
        ("absmax", torch.zeros(1, dtype=torch.float16)),
        ("absmax", torch.zeros(1, dtype=torch.uint8)),
        ("table", torch.zeros(15)),
        ("table", torch.zeros(16, dtype=torch.float64)),
        ("shape", (2, 64)),
        ("shape", (-1, -64)),
        ("shape", (2**40, 2**20)),
        ("block_size", 33),
        ("nested_absmax", torch.zeros(1)),
    ],
)
def test_parts_that_do_not_fit_are_refused(impl, field, value, pack):
    packed = pack(1, 64, double=False)._replace(**{field: value})
    with pytest.raises(RangeError):
        ops.dequantize_4bit(packed, impl=impl)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("absmax", torch.zeros(257, dtype=torch.uint8)),
        ("absmax", torch.zeros(258)),
        ("nested_absmax", torch.zeros(1)),
        ("nested_offset", None),
        ("nested_offset", torch.zeros(2)),
        ("nested_table", torch.zeros(255)),
        ("nested_table", None),
    ],
)
def test_nested_parts_that_do_not_fit_are_refused(impl, field, value, pack):
    packed = pack(258, 64)._replace(**{field: value})
    with pytest.raises(RangeError):
        ops.dequantize_4bit(packed, impl=impl)


def test_room_that_is_too_small_is_refused(impl, pack):
    with pytest.raises(RangeError, match="out"):
        ops.dequantize_4bit(pack(2, 64), out=torch.empty(2, 63), impl=impl)


def test_dtypes_that_are_not_read_or_written_are_refused(impl, pack):
    with pytest.raises(RangeError, match="float64"):
        ops.quantize_4bit(torch.zeros(64, dtype=torch.float64), levels("nf4"), block_size=64, impl=impl)
    with pytest.raises(RangeError, match="float64"):
        ops.dequantize_4bit(pack(1, 64), dtype=torch.float64, impl=impl)
