"""Answers of encoder-decoder models."""

from __future__ import annotations

import pytest
import torch

import tiny
from trimtab.core.errors import MissingError
from trimtab.text.encoder_decoder import EncoderDecoder
from trimtab.text.engine import Finished, Piece, Request, Sampling


@pytest.fixture
def writer() -> EncoderDecoder:
    return EncoderDecoder(tiny.FAMILIES["t5"](), tiny.tokenizer())


def text_of(writer: EncoderDecoder, sampling: Sampling) -> str:
    return "".join(event.text for event in writer.generate(Request((5, 6, 7), sampling)) if isinstance(event, Piece))


def test_the_pieces_are_what_transformers_writes(writer: EncoderDecoder) -> None:
    expected = writer.net.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=8, do_sample=False)[0]
    assert text_of(writer, Sampling(max_tokens=8)) == writer.tokenizer.decode(expected, skip_special_tokens=True)


def test_the_end_counts_what_was_read_and_written(writer: EncoderDecoder) -> None:
    *_, end = writer.generate(Request((5, 6, 7), Sampling(max_tokens=4)))
    assert isinstance(end, Finished)
    assert end.reason == "length"
    assert (end.usage.prompt, end.usage.reused, end.usage.generated) == (3, 0, 4)


def test_a_seed_draws_the_same_text_again(writer: EncoderDecoder) -> None:
    drawn = [text_of(writer, Sampling(max_tokens=8, temperature=1.5, seed=seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_fails_in_the_background_is_raised_here(writer: EncoderDecoder) -> None:
    with pytest.raises(MissingError, match="no adapter 'nobody'"):
        list(writer.generate(Request((5,), Sampling(), adapter="nobody")))
