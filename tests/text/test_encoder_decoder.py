"""Answers of encoder-decoder models."""

from __future__ import annotations

import threading

import pytest
import torch

import tiny
from trimtab.core.errors import MissingError, RangeError
from trimtab.text.encoder_decoder import THREAD_NAME, EncoderDecoder
from trimtab.text.engine import Choices, Finished, Piece, Request, Sampling


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


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def test_nobody_writes_on_for_who_stops_listening(writer: EncoderDecoder) -> None:
    writer.net.generation_config.eos_token_id = None
    passes: list[object] = []
    writer.net.decoder.register_forward_pre_hook(lambda *_: passes.append(None))
    events = writer.generate(Request((5, 6, 7), Sampling(max_tokens=400, temperature=1.0)))
    next(events)
    assert writers()
    events.close()
    assert not writers()
    assert len(passes) < 400


def test_an_end_token_at_the_very_limit_is_an_end(writer: EncoderDecoder) -> None:
    written = writer.net.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=4, do_sample=False)[0].tolist()
    writer.net.generation_config.eos_token_id = written[4]
    *_, end = writer.generate(Request((5, 6, 7), Sampling(max_tokens=written.index(written[4], 1))))
    assert isinstance(end, Finished)
    assert end.reason == "stop"


def test_min_p_leaves_only_what_is_likely(writer: EncoderDecoder) -> None:
    sure = text_of(writer, Sampling(max_tokens=8, temperature=1.5, seed=1, min_p=1.0))
    assert sure == text_of(writer, Sampling(max_tokens=8))


@pytest.mark.parametrize(
    "asked",
    [
        Request((5,), Sampling(stop=("a",))),
        Request((5,), Sampling(logprobs=0)),
        Request((5,), Sampling(presence_penalty=1.0)),
        Request((5,), Sampling(frequency_penalty=-1.0)),
        Request((5,), constraint=Choices(("a",))),
    ],
)
def test_what_is_not_known_here_is_refused(writer: EncoderDecoder, asked: Request) -> None:
    with pytest.raises(RangeError, match="not known to encoder-decoder models"):
        list(writer.generate(asked))
