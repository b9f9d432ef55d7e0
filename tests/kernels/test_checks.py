"""A weight is looked at closely once, and again whenever one of its tensors is another or elsewhere."""

from __future__ import annotations

import gc

import pytest
import torch

from trimtab.core.errors import RangeError
from trimtab.kernels import checks
from trimtab.quant import quantize


@pytest.fixture
def packed():
    return quantize(torch.randn(16, 64)).packed()


def test_the_same_tensors_are_looked_at_once(packed):
    assert checks.packed_4bit(packed) is checks.packed_4bit(packed)


def test_another_tensor_of_scales_is_looked_at_again(packed):
    checks.packed_4bit(packed)
    with pytest.raises(RangeError, match="absmax"):
        checks.packed_4bit(packed._replace(absmax=torch.zeros(3, dtype=torch.uint8)))


def test_another_shape_is_looked_at_again(packed):
    checks.packed_4bit(packed)
    with pytest.raises(RangeError, match="codes"):
        checks.packed_4bit(packed._replace(shape=(32, 64)))


def test_memory_that_moved_is_looked_at_again(packed):
    checks.packed_4bit(packed)
    packed.codes.data = torch.zeros(3, dtype=torch.uint8)
    with pytest.raises(RangeError, match="codes"):
        checks.packed_4bit(packed)


def test_nothing_is_remembered_of_a_weight_that_is_gone():
    codes = quantize(torch.randn(16, 64)).packed()
    checks.packed_4bit(codes)
    key = id(codes.codes)
    assert key in checks._known
    del codes
    gc.collect()
    assert key not in checks._known
