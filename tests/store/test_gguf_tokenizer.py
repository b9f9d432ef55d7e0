"""Tokenizers on their way into GGUF: what is written, what is filled in, and what is refused rather than guessed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import tiny
from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.core.job import result_of
from trimtab.models.export import export_model
from trimtab.models.tokenizer import read_tokenizer
from trimtab.store.gguf import read_gguf
from trimtab.store.gguf_tokenizer import CONTROL, NORMAL, UNUSED, USER_DEFINED, read_tokenizer_metadata, write_tokenizer
from trimtab.store.importing import import_gguf

SIZE = tiny.vocabulary_size()
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
SPLIT = {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}"}, "behavior": "Isolated", "invert": False}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


@pytest.fixture
def folder(tmp_path):
    tiny.tokenizer().save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("splitter", "name"),
    [(BYTES, "gpt-2"), (sequence(BYTES), "gpt-2"), (sequence(DIGITS, BYTES), "smollm")],
    ids=["bytes", "bytes in a sequence", "digits and bytes"],
)
def test_a_way_of_splitting_that_llama_cpp_knows_is_named(folder, splitter, name):
    tiny.change_json(folder / "tokenizer.json", pre_tokenizer=splitter)
    assert read_tokenizer_metadata(folder, size=SIZE)["tokenizer.ggml.pre"] == name


UNKNOWN = {
    "nothing": None,
    "a split of its own": sequence(SPLIT, BYTES | {"use_regex": False}),
    "bytes without their split": BYTES | {"use_regex": False},
    "a space put before": BYTES | {"add_prefix_space": True},
    "digits in runs": sequence(DIGITS | {"individual_digits": False}, BYTES),
    "no bytes": {"type": "Whitespace"},
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_another_way_of_splitting_is_refused(folder, case):
    tiny.change_json(folder / "tokenizer.json", pre_tokenizer=UNKNOWN[case])
    with pytest.raises(RangeError, match="splits text"):
        read_tokenizer_metadata(folder, size=SIZE)


def test_a_normalizer_is_refused(folder):
    tiny.change_json(folder / "tokenizer.json", normalizer={"type": "NFC"})
    with pytest.raises(RangeError, match="without a normalizer"):
        read_tokenizer_metadata(folder, size=SIZE)


def test_numbers_without_a_token_are_filled(folder):
    data = read_tokenizer_metadata(folder, size=SIZE + 2)
    assert data["tokenizer.ggml.tokens"][SIZE:] == [f"[PAD{SIZE}]", f"[PAD{SIZE + 1}]"]
    assert data["tokenizer.ggml.token_type"][SIZE:] == [UNUSED, UNUSED]


def test_a_gap_between_numbers_moves_no_token(folder):
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    extra = added[0] | {"id": SIZE + 3, "content": "<far>", "special": False}
    tiny.change_json(folder / "tokenizer.json", added_tokens=[*added, extra])
    data = read_tokenizer_metadata(folder, size=SIZE + 4)
    kinds = dict(zip(data["tokenizer.ggml.tokens"], data["tokenizer.ggml.token_type"], strict=True))
    assert data["tokenizer.ggml.tokens"].index("<far>") == SIZE + 3
    assert (kinds["<far>"], kinds["<pad>"], kinds["a"]) == (USER_DEFINED, CONTROL, NORMAL)


def test_a_tokenizer_larger_than_the_network_is_refused(folder):
    with pytest.raises(RangeError, match=f"beyond the network's {SIZE - 1}"):
        read_tokenizer_metadata(folder, size=SIZE - 1)


@pytest.mark.parametrize(
    ("processor", "flag", "begins"),
    [
        (None, None, False),
        (None, True, True),
        ({"type": "ByteLevel", "trim_offsets": False}, False, False),
        ({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}, {"Sequence": {}}]}, None, True),
        ({"type": "TemplateProcessing", "single": [{"Sequence": {}}, {"SpecialToken": {"id": "x"}}]}, None, False),
    ],
)
def test_a_first_token_is_announced_where_the_tokenizer_puts_one(folder, processor, flag, begins):
    tiny.change_json(folder / "tokenizer.json", post_processor=processor)
    tiny.change_json(folder / "tokenizer_config.json", add_bos_token=flag)
    assert read_tokenizer_metadata(folder, size=SIZE)["tokenizer.ggml.add_bos_token"] is begins


@pytest.mark.parametrize("changes", [{"model": {"type": "Unigram"}}, {"model": ...}])
def test_another_kind_of_tokenizer_is_refused(folder, changes):
    tiny.change_json(folder / "tokenizer.json", **changes)
    with pytest.raises(RangeError, match="byte-level BPE"):
        read_tokenizer_metadata(folder, size=SIZE)


@pytest.mark.parametrize(
    "changes",
    [
        {"pre_tokenizer": []},
        {"pre_tokenizer": {}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": []}},
        {"model": {"type": "BPE"}},
        {"model": {"type": "BPE", "vocab": {"a": "1"}, "merges": []}},
        {"added_tokens": [{"content": "x"}]},
        {"post_processor": 3},
        {"post_processor": {"type": "TemplateProcessing", "single": []}},
    ],
    ids=str,
)
def test_damage_is_told_as_damage(folder, changes):
    tiny.change_json(folder / "tokenizer.json", **changes)
    with pytest.raises((FormatError, RangeError), match=r"is no tokenizer|splits text"):
        read_tokenizer_metadata(folder, size=SIZE)


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"tokenizer\.json does not exist"):
        read_tokenizer_metadata(tmp_path, size=SIZE)


def test_a_padded_vocabulary_makes_the_round_trip(tmp_path):
    source = tiny.llama_folder(tmp_path / "model", vocab_size=SIZE + 9)
    result_of(export_model(source, tmp_path / "x.gguf", form="gguf"))
    result_of(import_gguf(tmp_path / "x.gguf", tmp_path / "back"))
    assert json.loads((tmp_path / "back" / "config.json").read_text())["vocab_size"] == SIZE + 9
    ids = [read_tokenizer(where)("the trimtab 26<unk>").input_ids for where in (source, tmp_path / "back")]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("flavour", [None, "default", "llama-bpe"])
def test_a_file_that_does_not_name_a_known_way_of_splitting_is_refused(tmp_path, flavour):
    source = tiny.llama_folder(tmp_path / "model")
    result_of(export_model(source, tmp_path / "x.gguf", form="gguf"))
    gguf = read_gguf(tmp_path / "x.gguf")
    named = {**gguf.metadata, "tokenizer.ggml.pre": flavour}
    changed = replace(gguf, metadata={key: value for key, value in named.items() if value is not None})
    with pytest.raises(FormatError, match=rf"tokenizer\.ggml\.pre '{flavour or ''}'"):
        write_tokenizer(changed, tmp_path)
