"""Codes, scales and dequantised values against bitsandbytes itself, to the bit."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import pytest
import torch

from needs import need
from trimtab.quant import QuantizedWeight, dynamic_map, levels, quantize

need(find_spec("bitsandbytes") is not None, "bitsandbytes", "Install it with: pip install 'trimtab[compare]'.")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import bitsandbytes.functional as peer

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def theirs(weight: torch.Tensor, kind: str, block_size: int, double: bool):
    return peer.quantize_4bit(weight, blocksize=block_size, quant_type=kind, compress_statistics=double)


def assert_same(ours: QuantizedWeight, codes: torch.Tensor, state) -> None:
    assert torch.equal(ours.codes, codes.view(-1))
    assert torch.equal(ours.absmax, state.absmax)
    if ours.double:
        assert torch.equal(ours.nested_absmax, state.state2.absmax)
        assert torch.equal(ours.nested_offset, state.offset)
    dense = peer.dequantize_4bit(codes, state)
    assert torch.equal(ours.dense(), dense.view(ours.shape))


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_levels_are_theirs(kind):
    assert torch.equal(levels(kind), peer.get_4bit_type(kind, device="cpu"))


@pytest.mark.parametrize("signed", [True, False])
def test_dynamic_map_is_theirs(signed):
    assert torch.equal(dynamic_map(signed), peer.create_dynamic_map(signed=signed))


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_a_random_matrix_quantizes_to_the_same_bytes(kind, dtype, double):
    weight = torch.randn(192, 256, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert_same(quantize(weight, kind=kind, double=double), *theirs(weight, kind, 64, double))


@pytest.mark.parametrize("block_size", [32, 64, 128, 256, 512, 1024, 2048, 4096])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_every_block_size_gives_the_same_bytes(kind, block_size):
    weight = torch.randn(96, 200, generator=torch.Generator().manual_seed(block_size))
    assert_same(quantize(weight, kind=kind, block_size=block_size), *theirs(weight, kind, block_size, True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 3, 31, 63, 64, 65, 127, 129, 4097, 16_385])
def test_odd_tails_and_short_last_blocks_give_the_same_bytes(count, dtype):
    weight = torch.randn(count, generator=torch.Generator().manual_seed(count)).to(dtype)
    assert_same(quantize(weight), *theirs(weight, "nf4", 64, True))


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_ties_go_where_theirs_go(kind):
    rising = levels(kind).sort().values
    middles = (rising[:-1] + rising[1:]) / 2
    weight = torch.cat([middles, rising, torch.tensor([1.0])]).repeat(4)
    ours = quantize(weight, kind=kind, block_size=32, double=False)
    assert_same(ours, *theirs(weight, kind, 32, False))


@pytest.mark.parametrize("count", [256, 300])
@pytest.mark.parametrize("double", [True, False])
def test_zero_blocks_give_the_same_bytes(count, double):
    weight = torch.randn(count, generator=torch.Generator().manual_seed(3))
    weight[64:192] = 0
    weight[256:] = 0
    assert_same(quantize(weight, double=double), *theirs(weight, "nf4", 64, double))


def test_an_all_zero_weight_gives_the_same_bytes():
    weight = torch.zeros(64, 512)
    assert_same(quantize(weight), *theirs(weight, "nf4", 64, True))


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_tiny_and_huge_weights_give_the_same_bytes(scale):
    weight = torch.randn(64, 512, generator=torch.Generator().manual_seed(4)) * scale
    assert_same(quantize(weight), *theirs(weight, "nf4", 64, True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 96)])
def test_int8_rows_are_theirs(shape, dtype):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(5)).to(dtype)
    codes, absmax, _ = peer.int8_vectorwise_quant(weight)
    ours = quantize(weight, kind="int8")
    assert torch.equal(ours.codes, codes)
    assert torch.equal(ours.absmax, absmax)
    assert torch.equal(ours.dense(torch.float32), peer.int8_vectorwise_dequant(codes, absmax))
