"""Hostile GGUF files: the reader, then the conversion to a folder."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from hostile.attack import gguf_head, gguf_key, gguf_tensor, nothing_runs, refused, text
from trimtab.core.errors import FormatError
from trimtab.core.job import result_of
from trimtab.models.export import export_model
from trimtab.store.ggml import GgmlType
from trimtab.store.gguf import MAX_ARRAY_ITEMS, MAX_KEYS, MAX_OBJECTS, MAX_STRING_BYTES, MAX_TENSORS, read_gguf
from trimtab.store.gguf_writer import GgufWriter
from trimtab.store.importing import import_gguf

U64 = struct.Struct("<Q").pack
U32 = struct.Struct("<I").pack
PAD = bytes(64)


def array(item: int, count: int, data: bytes = b"") -> bytes:
    return U32(item) + U64(count) + data


def with_key(code: int, value: bytes, name: str | bytes = "k") -> bytes:
    return gguf_head(0, 1) + gguf_key(name, code, value) + PAD


def with_alignment(code: int, value: bytes) -> bytes:
    return gguf_head(1, 1) + gguf_key("general.alignment", code, value) + gguf_tensor() + bytes(256)


def with_tensor(*arguments: Any, count: int = 1, **named: Any) -> bytes:
    return gguf_head(count) + gguf_tensor(*arguments, **named) * count + bytes(256)


def nested(depth: int) -> bytes:
    return array(9, 1) * depth + array(4, 0)


FILES: dict[str, bytes] = {
    "empty": b"",
    "four bytes": b"GGUF",
    "another magic": gguf_head(magic=b"GGML") + PAD,
    "bytes swapped": gguf_head(magic=b"FUGG") + PAD,
    "version 0": gguf_head(version=0) + PAD,
    "version 1": gguf_head(version=1) + PAD,
    "version 4": gguf_head(version=4) + PAD,
    "big-endian version": gguf_head(version=3 << 24) + PAD,
    "one tensor too many": gguf_head(MAX_TENSORS + 1) + PAD,
    "2^64 - 1 tensors": gguf_head(2**64 - 1) + PAD,
    "one key too many": gguf_head(0, MAX_KEYS + 1) + PAD,
    "2^63 keys": gguf_head(0, 2**63) + PAD,
    "keys that are not there": gguf_head(0, 1000),
    "tensors that are not there": gguf_head(1000),
    "a key longer than the file": gguf_head(0, 1) + U64(1000) + PAD,
    "a key past the cap": gguf_head(0, 1) + U64(MAX_STRING_BYTES + 1) + PAD,
    "a key of 2^64 - 1 bytes": gguf_head(0, 1) + U64(2**64 - 1) + PAD,
    "a key that is no UTF-8": with_key(4, U32(1), name=b"\xff\xfe"),
    "a key twice": gguf_head(0, 2) + gguf_key("k", 4, U32(1)) * 2 + PAD,
    "an unknown value type": with_key(13, PAD),
    "a value type of 2^32 - 1": with_key(2**32 - 1, PAD),
    "a string longer than the file": with_key(8, U64(10_000)),
    "a string past the cap": with_key(8, U64(MAX_STRING_BYTES + 1)),
    "a string that is no UTF-8": with_key(8, text(b"\xc3\x28")),
    "an array of an unknown type": with_key(9, array(99, 1)),
    "an array past the cap": with_key(9, array(0, MAX_ARRAY_ITEMS + 1)),
    "an array of 2^64 - 1 numbers": with_key(9, array(10, 2**64 - 1)),
    "an array longer than the file": with_key(9, array(4, 1000)),
    "strings longer than the file": with_key(9, array(8, 1000)),
    "strings past the cap": with_key(9, array(8, MAX_OBJECTS + 1) + bytes(8 * 64)),
    "several arrays of many strings": gguf_head(0, 2)
    + gguf_key("k1", 9, array(8, 100_000, bytes(8 * 100_000)))
    + gguf_key("k2", 9, array(8, MAX_OBJECTS - 50_000, bytes(8 * 100_000))),
    "arrays nested five deep": with_key(9, nested(5)),
    "arrays nested 10,000 deep": with_key(9, nested(10_000)),
    "arrays that widen at each level": with_key(9, array(9, 1000) + array(9, 1000) + array(9, 1000)),
    "alignment of zero": with_alignment(4, U32(0)),
    "alignment of 2^31": with_alignment(4, U32(2**31)),
    "alignment below zero": with_alignment(5, struct.pack("<i", -32)),
    "alignment that is text": with_alignment(8, text("32")),
    "alignment that is a list": with_alignment(9, array(4, 2, bytes(8))),
    "alignment with a fraction": with_alignment(6, struct.pack("<f", 32.0)),
    "alignment that is true": with_alignment(7, b"\x01"),
    "a tensor name past the file": gguf_head(1) + U64(5000) + PAD,
    "a tensor name that is no UTF-8": gguf_head(1) + text(b"\xff") + PAD,
    "five dimensions": with_tensor("t", (1, 1, 1, 1, 1)),
    "2^32 - 1 dimensions": gguf_head(1) + text("t") + U32(2**32 - 1) + PAD,
    "an unknown element type": with_tensor(kind=4),
    "an element type of 2^32 - 1": with_tensor(kind=2**32 - 1),
    "a type of another project": with_tensor(kind=36),
    "sizes that overflow": with_tensor("t", (2**33, 2**33, 2**33, 2**33)),
    "a size of 2^64 - 1": with_tensor("t", (2**64 - 1,)),
    "a size past the file": with_tensor("t", (10**6,)),
    "a row that does not divide": with_tensor("t", (31,), int(GgmlType.Q4_0)),
    "rows that divide together only": with_tensor("t", (16, 2), int(GgmlType.Q8_0)),
    "an offset past the file": with_tensor(offset=10**6),
    "an offset of 2^64 - 1": with_tensor(offset=2**64 - 1),
    "an offset that leaves too little": with_tensor("t", (32,), 0, 192),
    "a tensor twice": with_tensor(count=2),
    "a safetensors file": struct.pack("<Q", 2) + b"{}" + PAD,
    "a pickle": b"\x80\x04\x95" + PAD,
}


@pytest.mark.parametrize("case", FILES)
def test_a_hostile_file_is_refused(tmp_path, case):
    path = tmp_path / "model.gguf"
    path.write_bytes(FILES[case])
    assert isinstance(refused(lambda: read_gguf(path), path), FormatError)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("good")
    source = tiny.llama_folder(root / "source")
    result_of(export_model(source, root / "good.gguf", form="gguf", dtype="f16"))
    return root / "good.gguf"


@pytest.mark.parametrize("share", [0.001, 0.01, 0.03, 0.06, 0.1, 0.25, 0.5, 0.75, 0.99])
def test_a_file_cut_anywhere_is_refused(good, tmp_path, share):
    path = tmp_path / "cut.gguf"
    raw = good.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    refused(lambda: read_gguf(path), path, warm=False)


def test_a_file_that_lacks_its_last_tensor_byte_is_refused(good, tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(good.read_bytes().rstrip(b"\x00")[:-1])
    refused(lambda: read_gguf(path), path)


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/null", "loop"])
def test_a_link_to_what_is_no_file_is_refused(tmp_path, target):
    path = tmp_path / "loop"
    path.symlink_to(target)
    refused(lambda: read_gguf(path), path)


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    path = tmp_path / "model.gguf"
    os.mkfifo(path)
    refused(lambda: read_gguf(path), path)


Metadata = dict[str, Any]


def key(name: str, value: Any) -> Callable[[Metadata], Any]:
    """Set a key; a key set to ``...`` is removed."""
    return lambda metadata: metadata.pop(name, None) if value is ... else metadata.update({name: value})


def listed(name: str, change: Callable[[list[Any]], Any]) -> Callable[[Metadata], Any]:
    def apply(metadata: Metadata) -> None:
        metadata[name] = list(metadata[name])
        change(metadata[name])

    return apply


TOKENS, MERGES, TYPES = (f"tokenizer.ggml.{name}" for name in ("tokens", "merges", "token_type"))
METADATA: dict[str, Callable[[Metadata], Any]] = {
    "no architecture": key("general.architecture", ...),
    "another architecture": key("general.architecture", "mamba"),
    "an architecture that is a number": key("general.architecture", 7),
    "an architecture that is a list": key("general.architecture", [1, 2]),
    "no layers": key("llama.block_count", ...),
    "zero layers": key("llama.block_count", 0),
    "2^31 layers": key("llama.block_count", 2**31 - 1),
    "one layer too many": key("llama.block_count", 3),
    "one layer too few": key("llama.block_count", 1),
    "a layer count that is text": key("llama.block_count", "2"),
    "a layer count that is a list": key("llama.block_count", [2, 2]),
    "a width of 2^31": key("llama.embedding_length", 2**31 - 1),
    "another width": key("llama.embedding_length", 32),
    "no heads": key("llama.attention.head_count", 0),
    "more heads than the width": key("llama.attention.head_count", 2**20),
    "heads that are a list": key("llama.attention.head_count", [4, 4]),
    "heads that do not divide": key("llama.attention.head_count", 5),
    "another head size": key("llama.rope.dimension_count", 8),
    "an epsilon that is text": key("llama.attention.layer_norm_rms_epsilon", "1e-5"),
    "an epsilon that is NaN": key("llama.attention.layer_norm_rms_epsilon", float("nan")),
    "an epsilon that is a list": key("llama.attention.layer_norm_rms_epsilon", [1, 2]),
    "a rotary base below zero": key("llama.rope.freq_base", -1.0),
    "no tokenizer": key("tokenizer.ggml.model", ...),
    "another kind of tokenizer": key("tokenizer.ggml.model", "llama"),
    "a tokenizer that is a list": key("tokenizer.ggml.model", [1]),
    "an unknown pre-tokenizer": key("tokenizer.ggml.pre", "evil"),
    "a pre-tokenizer that is a list": key("tokenizer.ggml.pre", ["gpt-2"]),
    "no tokens": key(TOKENS, ...),
    "tokens that are numbers": key(TOKENS, [1, 2, 3]),
    "tokens that are text": key(TOKENS, "abc"),
    "one token too few": listed(TOKENS, lambda tokens: tokens.pop()),
    "one token too many": listed(TOKENS, lambda tokens: tokens.append("evil")),
    "a token twice": listed(TOKENS, lambda tokens: tokens.__setitem__(0, tokens[1])),
    "no merges": key(MERGES, ...),
    "a merge of one piece": listed(MERGES, lambda merges: merges.append("ab")),
    "a merge of three pieces": listed(MERGES, lambda merges: merges.append("a b c")),
    "a merge of unknown pieces": listed(MERGES, lambda merges: merges.append("東 京")),
    "a merge to an unknown token": listed(MERGES, lambda merges: merges.append("Q Z")),
    "one type too few": listed(TYPES, lambda types: types.pop()),
    "types that are text": key(TYPES, "normal"),
    "types that are strings": key(TYPES, ["a", "b"]),
    "a chat template that is a number": key("tokenizer.chat_template", 5),
}


def rewritten(good: Path, path: Path, change: Callable[[Metadata], Any], drop: str = "", add: str = "") -> Path:
    """Write a good file again with other metadata, one tensor less, or one more."""
    from trimtab.store.ggml import decode

    source = read_gguf(good)
    metadata = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in source.metadata.items()}
    change(metadata)
    tensors = {n: decode(t.data, t.kind, t.shape) for n, t in source.tensors.items() if n != drop}
    if add:
        tensors[add] = np.zeros((2, 32), np.float32)
    with GgufWriter(path, metadata) as writer:
        for name, values in tensors.items():
            writer.announce(name, values.shape, GgmlType.F32)
        for name, values in tensors.items():
            writer.write(name, values)
    return path


def converted(path: Path) -> Any:
    return result_of(import_gguf(path, path.parent / "out"))


@pytest.mark.parametrize("case", METADATA)
def test_metadata_that_does_not_fit_is_refused_and_nothing_is_left(good, tmp_path, case):
    path = rewritten(good, tmp_path / "model.gguf", METADATA[case])
    assert isinstance(refused(lambda: converted(path), path), FormatError)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.gguf"]


@pytest.mark.parametrize(
    ("drop", "add"),
    [
        ("blk.0.attn_q.weight", ""),
        ("token_embd.weight", ""),
        ("output_norm.weight", ""),
        ("", "evil.weight"),
        ("", "blk.7.attn_q.weight"),
        ("", "blk.00.attn_q.weight"),
        ("", "../../evil.weight"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_and_nothing_is_left(good, tmp_path, drop, add):
    path = rewritten(good, tmp_path / "model.gguf", lambda metadata: None, drop, add)
    assert isinstance(refused(lambda: converted(path), path), FormatError)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.gguf"]


@pytest.mark.parametrize("name", ["evil.py", "../evil", "a/b/c", "/etc/passwd", "a\x00b"])
def test_no_name_in_a_file_becomes_a_path(good, tmp_path, name):
    path = rewritten(good, tmp_path / "model.gguf", key("general.name", name))
    with nothing_runs(tmp_path):
        converted(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model.gguf", "out"]
