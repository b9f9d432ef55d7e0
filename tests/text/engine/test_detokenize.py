"""Text that comes token by token is the text of all tokens, and never half a character."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from trimtab.text.engine.detokenize import INCOMPLETE, Detokenizer

WORDS = ("on", "the", "tab", "trim")


@cache
def tokenizer(kind: str) -> Any:
    if kind == "bytes":
        return tiny.tokenizer()
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256)), "\u2581", *(f"\u2581{w}" for w in WORDS), *WORDS]
    model = Tokenizer(models.BPE({name: n for n, name in enumerate(names)}, [], byte_fallback=True))
    model.pre_tokenizer = pre_tokenizers.Metaspace()
    model.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    model.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<s>", eos_token="</s>")


def pieces(kind: str, ids: list[int]) -> list[str]:
    speller = Detokenizer(tokenizer(kind))
    return [*(speller.push(token) for token in ids), speller.finish()]


def whole(kind: str, ids: list[int]) -> str:
    return str(tokenizer(kind).decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_tokens_give_the_text_of_decoding_them_at_once(kind, data):
    ids = data.draw(st.lists(st.integers(0, len(tokenizer(kind)) - 1), max_size=60))
    assert "".join(pieces(kind, ids)) == whole(kind, ids)


@given(st.text(max_size=30))
@settings(max_examples=150, deadline=None)
def test_no_piece_of_a_proper_text_holds_half_a_character(text):
    ids = tokenizer("bytes")(text, add_special_tokens=False).input_ids
    given = pieces("bytes", ids)
    assert "".join(given) == whole("bytes", ids)
    assert INCOMPLETE in text or not any(INCOMPLETE in piece for piece in given)


def test_plain_letters_are_given_at_once():
    ids = tokenizer("bytes")("on tab", add_special_tokens=False).input_ids
    assert pieces("bytes", ids) == [*(tokenizer("bytes").decode([token]) for token in ids), ""]


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
def test_a_character_comes_whole_with_what_completes_it(kind):
    text = "\N{GRINNING FACE}"
    spelt = {
        "bytes": tokenizer("bytes")(text, add_special_tokens=False).input_ids,
        "sentencepiece": [2 + byte for byte in text.encode()],
    }[kind]
    given = pieces(kind, spelt)
    assert len(spelt) == 4
    assert given[:3] == ["", "", ""]
    assert "".join(given[3:]) == text


@pytest.mark.parametrize("byte", [0x80, 0xF0, 0x61])
def test_the_work_a_token_does_not_grow_with_the_text(byte, monkeypatch):
    base = tiny.tokenizer()
    decoded = []
    decode = base.decode
    monkeypatch.setattr(base, "decode", lambda ids, **more: decoded.append(len(ids)) or decode(ids, **more))
    speller = Detokenizer(base)
    token = _token_of(base, byte)
    for _ in range(200):
        speller.push(token)
    assert max(decoded) < 32


def _token_of(base: Any, byte: int) -> int:
    from tokenizers import pre_tokenizers

    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [n for n in range(256) if n not in printable]
    letter = chr(byte) if byte in printable else chr(256 + shifted.index(byte))
    assert letter in pre_tokenizers.ByteLevel.alphabet()
    return int(base.convert_tokens_to_ids(letter))
