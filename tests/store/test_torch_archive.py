"""What ``torch.save`` wrote is read as torch would, from views of the file."""

from __future__ import annotations

import argparse
import io
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from generator_files import saved
from trimtab.core.errors import FormatError
from trimtab.store.pickle_machine import Refused
from trimtab.store.pickled_tensors import PickledTensor
from trimtab.store.torch_archive import is_archive, read_archive, read_file

BOTH = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older form"])
TYPES = [torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
TYPES += [torch.bool]


def through(value: Any, *, zipped: bool) -> Any:
    return read_archive(memoryview(saved(value, zipped=zipped)))


def same(found: Any, tensor: Tensor) -> bool:
    assert isinstance(found, PickledTensor)
    values = found.values()
    return values.dtype == tensor.numpy().dtype and np.array_equal(values, tensor.numpy())


@BOTH
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_tensor_of_each_type_has_the_same_bits(dtype, zipped):
    tensor = (torch.randn(3, 4, 5) * 9).to(dtype)
    assert same(through(tensor, zipped=zipped), tensor)


VIEWS = {
    "turned": lambda t: t.T,
    "every second": lambda t: t[::2, 1::2],
    "one row": lambda t: t[3],
    "one number": lambda t: t[2, 2],
    "added axes": lambda t: t[None, :, None],
}


@BOTH
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_the_same_numbers(view, zipped):
    tensor = VIEWS[view](torch.arange(48.0).reshape(6, 8))
    assert same(through(tensor, zipped=zipped), tensor)


@BOTH
def test_what_stands_round_the_tensors_is_kept(zipped):
    weight = torch.nn.Parameter(torch.ones(2))
    value = {"g": OrderedDict(w=weight), "state": {0: {"step": 3}}, "args": argparse.Namespace(size=8), "n": [1, (2,)]}
    found = through(value, zipped=zipped)
    assert same(found["g"]["w"], weight.detach())
    assert found["state"] == {0: {"step": 3}}
    assert found["args"].state == {"size": 8}
    assert found["n"] == [1, (2,)]


@BOTH
def test_tensors_of_one_storage_are_views_of_one_place(zipped):
    base = torch.arange(10.0)
    found = through([base[:5], base[5:]], zipped=zipped)
    assert found[0].storage is found[1].storage
    assert found[1].values().tolist() == [5, 6, 7, 8, 9]


@BOTH
def test_numbers_are_never_copied(zipped):
    raw = saved(torch.arange(1000.0), zipped=zipped)
    found = read_archive(memoryview(raw))
    assert found.storage.content.obj is raw
    assert not found.values().flags.writeable


@BOTH
def test_both_forms_are_known_by_their_first_bytes(zipped):
    assert is_archive(memoryview(saved(1, zipped=zipped)))
    assert not is_archive(memoryview(b"\x80\x02N."))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64])
@BOTH
def test_a_type_that_numpy_or_no_generator_has_is_refused_by_name(dtype, zipped):
    with pytest.raises(Refused, match="Storage"):
        through(torch.zeros(2, dtype=dtype), zipped=zipped)


def test_an_archive_of_today_is_what_torch_reads_too(tmp_path):
    raw = saved({"w": torch.randn(5)})
    theirs = torch.load(io.BytesIO(raw), weights_only=True)
    assert same(read_archive(memoryview(raw))["w"], theirs["w"])


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FormatError, match="no regular file"):
        read_file(tmp_path)
