"""A prompt is worded when a model answers as it was worded when the model was trained."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import processors

import tiny
from trimtab.core.errors import RangeError
from trimtab.text.engine import Sampling
from trimtab.text.generation import Speaker
from trimtab.train.data import Conversation, DataSettings, Turn, encode

TURNS = (Turn("user", "on the tab"), Turn("assistant", "trim"))


def _plain(*, bos: bool) -> Any:
    """A tokenizer without a chat template, with or without a BOS of its own."""
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = None
    if bos:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
        )
    return tokenizer


@pytest.mark.parametrize(
    "tokenizer", [tiny.tokenizer(), _plain(bos=False), _plain(bos=True)], ids=["own", "plain", "bos"]
)
def test_what_is_asked_has_the_tokens_that_training_put_before_the_answer(tokenizer: Any) -> None:
    (example,) = encode([Conversation(turns=TURNS, place="here:1")], tokenizer, DataSettings())
    speaker = Speaker(tiny.llama(), tokenizer)
    ids = speaker._encode(speaker.chat_prompt([{"role": "user", "content": TURNS[0].content}]), Sampling(max_tokens=4))
    read = example.input_ids[: example.trained.index(True)]
    assert list(ids) == read


def test_roles_that_the_template_refuses_are_named() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no system turns') }}"
    with pytest.raises(RangeError, match=r"refuses the roles system, user \(no system turns\)"):
        Speaker(tiny.llama(), tokenizer).chat_prompt(
            [{"role": "system", "content": "be brief"}, {"role": "user", "content": "on"}]
        )


@pytest.mark.parametrize("prompt", ["", "on the tab " * 40])
def test_a_prompt_without_room_or_words_is_refused(prompt: str) -> None:
    with pytest.raises(RangeError, match=r"prompt is empty|pass the window of 128"):
        Speaker(tiny.llama(), tiny.tokenizer()).answer(prompt, Sampling(max_tokens=64))


def test_the_pieces_of_a_stream_are_the_answer() -> None:
    speaker, sampling = Speaker(tiny.llama(), tiny.tokenizer()), Sampling(max_tokens=8)
    prompt = speaker.chat_prompt([{"role": "user", "content": "on the tab"}])
    assert "".join(speaker.stream(prompt, sampling)) == speaker.answer(prompt, sampling).text


def test_the_same_seed_draws_the_same_answer() -> None:
    speaker, sampling = Speaker(tiny.llama(), tiny.tokenizer()), Sampling(max_tokens=8, temperature=1.0, seed=3)
    assert speaker.answer("on", sampling).text == speaker.answer("on", sampling).text
    assert speaker.answer("on", sampling).text != speaker.answer("on", Sampling(8, temperature=1.0, seed=4)).text
