"""One function for all language models: text as it comes, or all of it."""

from __future__ import annotations

import pytest

import tiny
from trimtab.core.errors import RangeError
from trimtab.text.engine import Sampling
from trimtab.text.generation import Speaker

SHORT = Sampling(max_tokens=8)


@pytest.fixture(params=["llama", "t5"])
def speaker(request: pytest.FixtureRequest) -> Speaker:
    return Speaker(tiny.FAMILIES[request.param](), tiny.tokenizer())


def test_the_pieces_of_a_stream_are_the_answer(speaker: Speaker) -> None:
    prompt = speaker.prompts.chat([{"role": "user", "content": "on the tab"}])
    assert "".join(speaker.stream(prompt, SHORT)) == speaker.answer(prompt, SHORT).text


def test_an_answer_says_what_it_cost(speaker: Speaker) -> None:
    prompt = speaker.prompts.text("on the tab")
    written = speaker.answer(prompt, SHORT)
    assert (written.prompt_tokens, written.tokens <= 8) == (len(prompt), True)


def test_the_same_seed_draws_the_same_answer(speaker: Speaker) -> None:
    prompt, hot = speaker.prompts.text("on"), Sampling(8, temperature=1.5, seed=3)
    assert speaker.answer(prompt, hot).text == speaker.answer(prompt, hot).text
    assert speaker.answer(prompt, hot).text != speaker.answer(prompt, Sampling(8, temperature=1.5, seed=4)).text


def test_an_empty_prompt_is_refused(speaker: Speaker) -> None:
    with pytest.raises(RangeError, match="prompt is empty"):
        speaker.answer((), SHORT)


def test_a_prompt_without_room_for_its_answer_is_refused() -> None:
    speaker = Speaker(tiny.llama(), tiny.tokenizer())
    with pytest.raises(RangeError, match="pass the window of 128"):
        speaker.answer(speaker.prompts.text("on the tab " * 40), Sampling(max_tokens=64))
