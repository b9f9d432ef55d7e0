"""Hostile safetensors files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from hostile.attack import entry, refused, safetensors_bytes
from trimtab.core.errors import FormatError
from trimtab.store.safetensors import TensorFile, read_header

GOOD = safetensors_bytes({"a": entry(), "b": entry("U8", (3,), (8, 11))}, bytes(11))
DATA = bytes(8)


def named(name: str) -> bytes:
    return safetensors_bytes({name: entry()}, DATA)


CASES: dict[str, bytes] = {
    "empty file": b"",
    "seven bytes": bytes(7),
    "length and nothing else": (100).to_bytes(8, "little"),
    "length of zero": bytes(8),
    "header longer than the file": (10**6).to_bytes(8, "little") + b"{}",
    "header of 2^63 bytes": (2**63).to_bytes(8, "little") + b"{}",
    "header of 2^64 - 1 bytes": b"\xff" * 8 + b"{}",
    "header over the cap": (100_000_001).to_bytes(8, "little") + b"{}",
    "header that is no JSON": safetensors_bytes(b"{nonsense"),
    "header in UTF-16": safetensors_bytes("{}".encode("utf-16")),
    "header with bad UTF-8": safetensors_bytes(b'{"\xff\xfe": 1}'),
    "header that is a list": safetensors_bytes([1, 2]),
    "header that is a number": safetensors_bytes(7),
    "header that is null": safetensors_bytes(None),
    "200,000 deep lists": safetensors_bytes(b"[" * 200_000 + b"]" * 200_000),
    "200,000 deep objects": safetensors_bytes(b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "wide lists": safetensors_bytes(b'{"a":[' + b"[]," * 300_000 + b"[]]}"),
    "more tensors than the cap": safetensors_bytes(
        {f"t{i}": entry("U8", (0,), (0, 0)) for i in range(65_600)},
    ),
    "a name twice": safetensors_bytes(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2), DATA),
    "an empty name": named(""),
    "a name that climbs": named("../../etc/passwd"),
    "a name that climbs inside": named("a/../../b"),
    "an absolute name": named("/etc/passwd"),
    "a name with a NUL": named("a\x00b"),
    "an entry that is a list": safetensors_bytes({"a": [1]}, DATA),
    "an entry without a shape": safetensors_bytes({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, DATA),
    "an entry without offsets": safetensors_bytes({"a": {"dtype": "F32", "shape": [2]}}, DATA),
    "an unknown type": safetensors_bytes({"a": entry("F128")}, DATA),
    "a type that is a number": safetensors_bytes({"a": entry(3)}, DATA),
    "a negative size": safetensors_bytes({"a": entry(shape=(-2,))}, DATA),
    "a size with a fraction": safetensors_bytes({"a": entry(shape=(2.5,))}, DATA),
    "a size that is true": safetensors_bytes({"a": entry("U8", (True,), (0, 1))}, b"x"),
    "a shape that overflows": safetensors_bytes({"a": entry(shape=(2**33, 2**33))}, DATA),
    "a shape beyond its data": safetensors_bytes({"a": entry(shape=(1000,))}, DATA),
    "a shape of 10^4 sizes": safetensors_bytes({"a": entry(shape=[1] * 10_000 + [3])}, DATA),
    "offsets swapped": safetensors_bytes({"a": entry(offsets=(8, 0))}, DATA),
    "a negative offset": safetensors_bytes({"a": entry(offsets=(-8, 0))}, DATA),
    "an offset past the end": safetensors_bytes({"a": entry(offsets=(8, 16))}, DATA),
    "an offset past 2^64": safetensors_bytes({"a": entry(offsets=(2**64, 2**64 + 8))}, DATA),
    "an overlap": safetensors_bytes({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)),
    "a hole": safetensors_bytes({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)),
    "data that no tensor owns": safetensors_bytes({"a": entry()}, bytes(100)),
    "metadata that is no text": safetensors_bytes({"__metadata__": {"a": 1}, "a": entry()}, DATA),
    "metadata that is a list": safetensors_bytes({"__metadata__": [], "a": entry()}, DATA),
    "a pickle": b"\x80\x04\x95" + bytes(40),
    "a zip archive": b"PK\x03\x04" + bytes(100),
}


def read_all(path: Path) -> dict[str, torch.Tensor]:
    file = TensorFile(path)
    return {name: file.load(name) for name in file.shapes}


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_file_is_refused(tmp_path, case):
    path = tmp_path / "model.safetensors"
    path.write_bytes(CASES[case])
    assert isinstance(refused(lambda: read_all(path), path), FormatError)


def test_the_file_that_the_cases_twist_is_good_itself(tmp_path):
    (tmp_path / "x").write_bytes(GOOD)
    assert read_all(tmp_path / "x").keys() == {"a", "b"}


@pytest.mark.parametrize("length", range(0, len(GOOD), 7))
def test_a_file_cut_anywhere_is_refused(tmp_path, length):
    path = tmp_path / "model.safetensors"
    path.write_bytes(GOOD[:length])
    refused(lambda: read_all(path), path, warm=False)


def test_a_file_that_is_cut_while_it_is_open_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(GOOD)
    file = TensorFile(path)
    os.truncate(path, len(GOOD) - 1)
    refused(lambda: file.load("b"), path)


def test_a_type_without_a_twin_in_torch_is_refused_when_it_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors_bytes({"a": entry("F8_E8M0", (8,), (0, 8))}, DATA))
    refused(lambda: read_all(path), path)


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    path = tmp_path / "model.safetensors"
    os.mkfifo(path)
    refused(lambda: read_header(path), path)


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/null", "loop"])
def test_a_link_to_what_is_no_file_is_refused(tmp_path, target):
    path = tmp_path / "loop"
    path.symlink_to(target)
    refused(lambda: read_header(path), path)


def test_a_link_to_a_good_file_is_followed_as_caches_need_it(tmp_path):
    (tmp_path / "blob").write_bytes(GOOD)
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "blob")
    assert read_all(tmp_path / "model.safetensors").keys() == {"a", "b"}
