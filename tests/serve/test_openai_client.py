"""The real client of OpenAI's interface gets what it expects."""

from __future__ import annotations

import json

import openai
import pytest

import engines
import serving
from serving import ASKED, BASE, FAMILY, FIRST, SECOND
from trimtab.text.engine import Request, Sampling


def said(client, **changes):
    return client.chat.completions.create(**(ASKED | changes)).choices[0].message.content


def streamed(client, **changes):
    return list(client.chat.completions.create(**(ASKED | changes), stream=True))


def text_of(chunks, index=0):
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def written(model, *, seed=1, count=8):
    """Give the text that the engine itself writes for ``ASKED``."""
    prompt = engines.tokenizer().apply_chat_template(ASKED["messages"], tokenize=False, add_generation_prompt=True)
    ids = tuple(engines.tokenizer()(prompt, add_special_tokens=False).input_ids)
    adapter = model.partition(":")[2] or None
    return engines.alone(Request(ids, Sampling(count, temperature=1.0, seed=seed), adapter), FAMILY).text


def test_the_base_and_each_adapter_are_models(client):
    assert [(model.id, model.parent) for model in client.models.list()] == [(BASE, None), (FIRST, BASE), (SECOND, BASE)]


@pytest.mark.parametrize("model", [BASE, FIRST])
def test_one_model_can_be_looked_up(client, model):
    assert client.models.retrieve(model).id == model


@pytest.mark.parametrize("model", [BASE, FIRST, SECOND])
def test_an_answer_is_what_the_engine_writes(client, model):
    assert said(client, model=model) == written(model)


@pytest.mark.parametrize("model", [BASE, FIRST, SECOND])
def test_a_streamed_answer_is_the_same_text(client, model):
    assert text_of(streamed(client, model=model)) == written(model)


def test_the_models_write_differently():
    assert len({written(model) for model in (BASE, FIRST, SECOND)}) == 3


def test_the_first_chunk_says_who_speaks_and_the_last_one_why_it_ended(client):
    chunks = streamed(client)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]


def test_usage_counts_prompt_and_answer(client):
    usage = client.chat.completions.create(**ASKED).usage
    assert (usage.completion_tokens, usage.total_tokens) == (8, usage.prompt_tokens + 8)


def test_a_prompt_that_was_read_before_counts_as_cached(client):
    asked = ASKED | {"messages": [{"role": "user", "content": "said only here"}]}
    first, second = (client.chat.completions.create(**asked).usage for _ in range(2))
    assert first.prompt_tokens_details.cached_tokens < second.prompt_tokens_details.cached_tokens
    assert second.prompt_tokens_details.cached_tokens >= second.prompt_tokens - 1


def test_a_stream_ends_with_usage_for_those_who_ask(client):
    *chunks, last = streamed(client, stream_options={"include_usage": True})
    assert all(chunk.usage is None for chunk in chunks)
    assert (last.choices, last.usage.completion_tokens) == ([], 8)


def test_a_stream_has_no_usage_for_others(client):
    assert all(chunk.usage is None and chunk.choices for chunk in streamed(client))


@pytest.mark.parametrize("stream", [False, True])
def test_n_answers_have_a_seed_each(client, stream):
    if stream:
        chunks = streamed(client, n=3)
        texts = [text_of(chunks, index) for index in range(3)]
    else:
        texts = [choice.message.content for choice in client.chat.completions.create(**ASKED, n=3).choices]
    assert texts == [written(BASE, seed=seed) for seed in (1, 2, 3)]


def test_n_answers_count_their_prompt_once(client):
    usage = client.chat.completions.create(**ASKED, n=3).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (
        client.chat.completions.create(**ASKED).usage.prompt_tokens,
        24,
    )


def test_without_a_seed_answers_differ(client):
    assert len({said(client, seed=openai.NOT_GIVEN) for _ in range(4)}) > 1


def test_temperature_zero_needs_no_seed(client):
    assert len({said(client, temperature=0, seed=seed) for seed in range(4)}) == 1


def test_extra_settings_reach_the_engine(client):
    greedy = said(client, temperature=0)
    assert said(client, extra_body={"top_k": 1}) == greedy
    assert said(client, extra_body={"min_p": 1.0}) == greedy
    assert said(client, temperature=0, extra_body={"repetition_penalty": 50.0}) != greedy


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
def test_penalties_of_openai_reach_the_engine(client, penalty):
    free, fined = (said(client, temperature=0, max_tokens=60, **{penalty: value}) for value in (0, 2))
    assert len(set(fined)) > len(set(free))


def test_the_last_seed_has_a_next_one(client):
    texts = [
        choice.message.content for choice in client.chat.completions.create(**ASKED | {"seed": 2**63 - 1}, n=2).choices
    ]
    assert texts == [written(BASE, seed=seed) for seed in (2**63 - 1, -(2**63))]


def test_an_answer_ends_before_a_stop_text(client):
    whole = said(client, max_tokens=30)
    stop = whole[5]
    reply = client.chat.completions.create(**(ASKED | {"max_tokens": 30, "stop": stop})).choices[0]
    assert (reply.message.content, reply.finish_reason) == (whole[: whole.index(stop)], "stop")


def test_max_completion_tokens_is_the_newer_name(client):
    asked = {key: value for key, value in ASKED.items() if key != "max_tokens"}
    assert client.chat.completions.create(**asked, max_completion_tokens=3).usage.completion_tokens == 3


def test_without_a_limit_an_answer_fills_the_window(client):
    asked = {key: value for key, value in ASKED.items() if key != "max_tokens"}
    usage = client.chat.completions.create(**asked).usage
    assert usage.total_tokens == engines.decoder(FAMILY).window + 1


def test_text_may_come_in_parts(client):
    parts = [{"type": "text", "text": "the trim"}, {"type": "text", "text": " tab"}]
    assert said(client, messages=[{"role": "user", "content": parts}]) == written(BASE)


def test_a_developer_is_a_system(client):
    turns = [[{"role": role, "content": "be brief"}, *ASKED["messages"]] for role in ("system", "developer")]
    assert said(client, messages=turns[0]) == said(client, messages=turns[1]) != said(client)


def test_an_answer_that_came_from_the_client_can_be_sent_back(client):
    message = client.chat.completions.create(**ASKED).choices[0].message
    again = [*ASKED["messages"], message.model_dump(), {"role": "user", "content": "on"}]
    assert said(client, messages=again) is not None


def test_a_schema_is_kept_to_at_any_temperature():
    schema = {
        "type": "object",
        "properties": {"on": {"type": "boolean"}},
        "required": ["on"],
        "additionalProperties": False,
    }
    chosen = {"type": "json_schema", "json_schema": {"name": "switch", "schema": schema}}
    with serving.serving(serving.service(ends=(engines.tokenizer().eos_token_id,))) as server, server.openai() as own:
        texts = [said(own, response_format=chosen, temperature=2.0, seed=seed, max_tokens=60) for seed in range(4)]
    assert all(set(json.loads(text)) == {"on"} for text in texts)


def test_chat_logprobs_tell_each_token(client):
    reply = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=3)
    entries = reply.choices[0].logprobs.content
    assert len(entries) == reply.usage.completion_tokens
    assert (
        b"".join(bytes(entry.bytes) for entry in entries).decode(errors="replace") == reply.choices[0].message.content
    )
    assert all(len(entry.top_logprobs) == 3 and entry.top_logprobs[0].logprob >= entry.logprob for entry in entries)


def test_streamed_logprobs_are_those_of_the_whole(client):
    whole = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    chunks = streamed(client, logprobs=True, top_logprobs=2)
    assert [
        entry for chunk in chunks if chunk.choices[0].logprobs for entry in chunk.choices[0].logprobs.content
    ] == whole


def completed(client, prompt, **changes):
    return client.completions.create(**({"model": BASE, "prompt": prompt, "seed": 1, "max_tokens": 6} | changes))


def test_a_completion_goes_on_from_bare_text(client):
    ids = tuple(engines.tokenizer()("on the").input_ids)
    expected = engines.alone(Request(ids, Sampling(6, temperature=1.0, seed=1)), FAMILY).text
    assert completed(client, "on the").choices[0].text == expected
    assert completed(client, list(ids)).choices[0].text == expected


def test_several_prompts_are_answered_in_their_order(client):
    reply = completed(client, ["on", "the"], n=2)
    alone = [completed(client, prompt, seed=seed).choices[0].text for prompt in ("on", "the") for seed in (1, 2)]
    assert [choice.text for choice in reply.choices] == alone
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]


def test_several_prompts_of_tokens_are_answered_too(client):
    assert len(completed(client, [[65], [66, 67]]).choices) == 2


def test_a_streamed_completion_is_the_same_text(client):
    chunks = list(completed(client, "on", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == completed(client, "on").choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"


def test_completion_logprobs_stand_side_by_side(client):
    reply = completed(client, "on", logprobs=2)
    logprobs = reply.choices[0].logprobs
    sizes = {len(logprobs.tokens), len(logprobs.token_logprobs), len(logprobs.top_logprobs), len(logprobs.text_offset)}
    assert sizes == {reply.usage.completion_tokens}


def test_offsets_say_where_each_token_begins(client):
    logprobs = completed(client, "on", logprobs=0, max_tokens=12).choices[0].logprobs
    assert logprobs.text_offset == [sum(map(len, logprobs.tokens[:place])) for place in range(12)]


def test_streamed_offsets_go_on_where_they_were(client):
    whole = completed(client, "on", logprobs=0).choices[0].logprobs
    chunks = completed(client, "on", logprobs=0, stream=True)
    offsets = [at for chunk in chunks if chunk.choices[0].logprobs for at in chunk.choices[0].logprobs.text_offset]
    assert offsets == whole.text_offset


def test_an_unknown_model_is_not_found_and_near_names_are_given(client):
    with pytest.raises(openai.NotFoundError, match="'tiny:first'") as caught:
        said(client, model="tiny:frist")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_prompt_over_the_window_has_the_code_that_clients_know(client):
    with pytest.raises(openai.BadRequestError, match="allowed are 128") as caught:
        said(client, messages=[{"role": "user", "content": "trim " * 200}])
    assert caught.value.code == "context_length_exceeded"


def test_a_server_without_a_model_says_how_to_get_one():
    with serving.serving(without_model=True) as server, server.openai() as client:
        assert client.models.list().data == []
        with pytest.raises(openai.NotFoundError, match="trimtab serve MODEL"):
            said(client)
