"""Writing GGUF files and coding their blocks: what is refused, and that nothing half-written is left."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.core.errors import RangeError
from trimtab.store.ggml import BLOCKS, CHUNK_BLOCKS, GgmlType, decode, encode
from trimtab.store.gguf import read_gguf
from trimtab.store.gguf_writer import GgufWriter

VALUES = np.arange(64, dtype=np.float32).reshape(2, 32)


def test_a_row_that_does_not_divide_becomes_f16(tmp_path):
    with GgufWriter(tmp_path / "x.gguf", {}) as writer:
        writer.announce("a", (2, 33), GgmlType.Q8_0)
        writer.write("a", np.ones((2, 33), np.float32))
    assert read_gguf(tmp_path / "x.gguf").tensors["a"].kind is GgmlType.F16


def test_tensors_begin_at_multiples_of_the_alignment(tmp_path):
    with GgufWriter(tmp_path / "x.gguf", {"a key": "of odd length"}) as writer:
        for name in "abc":
            writer.announce(name, (3,), GgmlType.F32)
        for number, name in enumerate("abc"):
            writer.write(name, np.full(3, number, np.float32))
    tensors = read_gguf(tmp_path / "x.gguf").tensors
    found = {name: decode(t.data, t.kind, t.shape).tolist() for name, t in tensors.items()}
    assert found == {"a": [0, 0, 0], "b": [1, 1, 1], "c": [2, 2, 2]}


@pytest.mark.parametrize("shape", [(2, 16), (64,)])
def test_a_tensor_of_another_shape_is_refused_and_nothing_is_left(tmp_path, shape):
    def write() -> None:
        with GgufWriter(tmp_path / "x.gguf", {}) as writer:
            writer.announce("a", (2, 32), GgmlType.F32)
            writer.write("a", np.zeros(shape, np.float32))

    with pytest.raises(RangeError, match="is due"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_tensor_that_was_never_written_leaves_no_file(tmp_path):
    def write() -> None:
        with GgufWriter(tmp_path / "x.gguf", {}) as writer:
            writer.announce("a", (2, 32), GgmlType.F32)

    with pytest.raises(RangeError, match="1 announced"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [None, {"a": 1}, [1, "a"], {1, 2}], ids=str)
def test_metadata_of_another_type_is_refused(tmp_path, value):
    def write() -> None:
        with GgufWriter(tmp_path / "x.gguf", {"k": value}) as writer:
            writer.announce("a", (2, 32), GgmlType.F32)
            writer.write("a", VALUES)

    with pytest.raises(RangeError, match="metadata value"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [k for k in GgmlType if k not in (GgmlType.F32, GgmlType.F16, GgmlType.Q8_0)])
def test_a_type_that_can_only_be_read_is_refused(kind):
    with pytest.raises(RangeError, match="cannot be written"):
        encode(VALUES, kind)


def test_a_row_that_does_not_divide_is_never_coded_in_blocks():
    with pytest.raises(RangeError, match="do not divide"):
        encode(np.zeros((2, 33), np.float32), GgmlType.Q8_0)


@pytest.mark.parametrize("kind", [GgmlType.Q4_1, GgmlType.Q8_0, GgmlType.F16], ids=lambda kind: kind.name)
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_decoding_in_pieces_gives_every_block_its_place(kind, extra):
    count, block = CHUNK_BLOCKS + extra, BLOCKS[kind]
    raw = np.random.default_rng(0).integers(0, 60, (count, block.nbytes), dtype=np.uint8)
    whole = decode(raw.reshape(-1), kind, (count, block.elements))
    for row in (0, CHUNK_BLOCKS - 2, count - 1):
        assert np.array_equal(whole[row], decode(raw[row], kind, (block.elements,)))
