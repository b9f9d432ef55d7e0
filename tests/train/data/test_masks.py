"""Which tokens are learnt, for the chat templates of the families and for awkward ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from transformers import ByT5Tokenizer

from trimtab.core.errors import DataError
from trimtab.train.data import Conversation, DataSettings, Turn, encode, preview

Make = Callable[..., Any]

TALK = (("user", "hello there"), ("assistant", "I am well"), ("user", "and now?"), ("assistant", "bye then"))
WITH_SYSTEM = (("system", "be brief"), *TALK)


def talk(*turns: tuple[Any, str]) -> Conversation:
    return Conversation(tuple(Turn(role, content) for role, content in turns), "made.jsonl:1")


def learnt(conversation: Conversation, tokenizer: Any, **settings: Any) -> list[str]:
    example = encode([conversation], tokenizer, DataSettings(**settings))[0]
    return [text for text, trained in preview(example, tokenizer) if trained]


FAMILIES = {
    "chatml": (WITH_SYSTEM, "<|im_end|>"),
    "llama3": (WITH_SYSTEM, "<|eot_id|>"),
    "gemma": (TALK, "<end_of_turn>"),
    "phi3": (WITH_SYSTEM, "<|end|>"),
    "opens-a-thought": (TALK, "<|im_end|>"),
    "own-system": (TALK, "<|im_end|>"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_answer_and_its_end_mark_are_learnt_and_nothing_else(family: str, byte_tokenizer: Make) -> None:
    turns, mark = FAMILIES[family]
    assert learnt(talk(*turns), byte_tokenizer(family)) == [f"I am well{mark}", f"bye then{mark}"]


def test_llama2_learns_the_answer_and_eos(byte_tokenizer: Make) -> None:
    assert learnt(talk(*WITH_SYSTEM), byte_tokenizer("llama2")) == [" I am well </s>", " bye then </s>"]


def test_llama2_with_spaces_carried_by_words(word_tokenizer: Make) -> None:
    tokenizer = word_tokenizer("llama2")
    example = encode([talk(*TALK)], tokenizer)[0]
    tokens = tokenizer.convert_ids_to_tokens([i for i, t in zip(example.input_ids, example.trained, strict=True) if t])
    space = "<unk>"  # the space before EOS, which this vocabulary lacks
    assert tokens == ["▁I", "▁am", "▁well", space, "</s>", "▁bye", "▁then", space, "</s>"]


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "opens-a-thought"])
def test_what_stands_before_an_answer_is_what_generation_is_given(family: str, byte_tokenizer: Make) -> None:
    turns, _ = FAMILIES[family]
    tokenizer = byte_tokenizer(family)
    example = encode([talk(*turns)], tokenizer, DataSettings(loss_on="last"))[0]
    messages = [{"role": role, "content": content} for role, content in turns[:-1]]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert example.input_ids[: len(ids)] == ids
    assert example.trained.index(True) == len(ids)


def test_the_tokens_are_those_of_the_template_itself(byte_tokenizer: Make) -> None:
    tokenizer = byte_tokenizer("llama3", adds_bos=True)
    messages = [{"role": role, "content": content} for role, content in TALK]
    expected = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
    assert encode([talk(*TALK)], tokenizer)[0].input_ids == expected


def test_the_mask_is_that_of_a_template_which_tags_its_answers(byte_tokenizer: Make) -> None:
    tokenizer = byte_tokenizer("tagged")
    messages = [{"role": role, "content": content} for role, content in WITH_SYSTEM]
    tagged = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    example = encode([talk(*WITH_SYSTEM)], tokenizer)[0]
    assert example.input_ids == tagged["input_ids"]
    assert example.trained == [bool(mark) for mark in tagged["assistant_masks"]]


def test_without_a_generation_prompt_the_header_is_the_models_to_write(byte_tokenizer: Make) -> None:
    tokenizer = byte_tokenizer("no-generation-prompt")
    assert learnt(talk(*TALK), tokenizer) == ["assistant: I am well\n", "assistant: bye then\n"]


def test_last_learns_the_last_answer_only(byte_tokenizer: Make) -> None:
    assert learnt(talk(*TALK), byte_tokenizer("chatml"), loss_on="last") == ["bye then<|im_end|>"]


def test_all_learns_every_token(byte_tokenizer: Make) -> None:
    assert all(encode([talk(*TALK)], byte_tokenizer("chatml"), DataSettings(loss_on="all"))[0].trained)


@pytest.mark.parametrize(
    "answer",
    ["assistant", "user", "im_end", "<b>", "hello there", "e", "ä ö 漢字 🙂", "a\n\nb", "### Human: no"],
)
@pytest.mark.parametrize("family", ["chatml", "llama3", "gemma", "opens-a-thought", "own-system"])
def test_an_answer_that_looks_like_a_part_of_the_template_is_found(
    answer: str, family: str, byte_tokenizer: Make
) -> None:
    turns = (("user", "hello there"), ("assistant", answer), ("user", answer), ("assistant", answer))
    pieces = learnt(talk(*turns), byte_tokenizer(family))
    assert pieces == [f"{answer}{FAMILIES[family][1]}"] * 2


def test_a_template_that_trims_answers_is_followed(byte_tokenizer: Make) -> None:
    turns = (("user", " hello "), ("assistant", "  I am well \n"), ("user", "and?"), ("assistant", "\nbye"))
    assert learnt(talk(*turns), byte_tokenizer("gemma")) == ["I am well<end_of_turn>", "bye<end_of_turn>"]


def test_a_header_right_behind_the_end_mark_is_not_learnt_though_it_begins_like_eos(byte_tokenizer: Make) -> None:
    pieces = learnt(talk(*WITH_SYSTEM), byte_tokenizer("tight"))
    assert pieces == ["I am well<|end|>", "bye then<|end|></s>"]


def test_an_opening_answer_is_learnt(byte_tokenizer: Make) -> None:
    turns = (("assistant", "helpful"), ("user", "hello"), ("assistant", "bye"))
    assert learnt(talk(*turns), byte_tokenizer("own-system")) == ["helpful<|im_end|>", "bye<|im_end|>"]


def test_a_question_after_the_last_answer_is_not_learnt(byte_tokenizer: Make) -> None:
    assert learnt(talk(*TALK[:3]), byte_tokenizer("chatml")) == ["I am well<|im_end|>"]


def test_a_template_that_rewrites_earlier_answers_is_reported(byte_tokenizer: Make) -> None:
    with pytest.raises(DataError, match=r"made\.jsonl:1:messages\[1\]: the chat template rewrites.*loss_on"):
        encode([talk(*TALK)], byte_tokenizer("thinking"))


def test_a_rewriting_template_is_right_for_the_last_answer(byte_tokenizer: Make) -> None:
    pieces = learnt(talk(*TALK), byte_tokenizer("thinking"), loss_on="last")
    assert pieces == ["<think>\n\n</think>\n\nbye then<|im_end|>"]


@pytest.mark.parametrize("answer", ["think", "t", ">", "im_end"])
def test_an_empty_thought_before_the_answer_is_learnt_with_it(answer: str, byte_tokenizer: Make) -> None:
    pieces = learnt(talk(("user", "hello"), ("assistant", answer)), byte_tokenizer("thinking"))
    assert pieces == [f"<think>\n\n</think>\n\n{answer}<|im_end|>"]


def test_a_template_that_refuses_the_roles_is_reported(byte_tokenizer: Make) -> None:
    with pytest.raises(DataError, match=r"refuses the roles system, user.*System role not supported"):
        encode([talk(*WITH_SYSTEM)], byte_tokenizer("gemma"))


def test_a_template_that_writes_the_date_gives_the_same_tokens_every_day(byte_tokenizer: Make) -> None:
    tokenizer = byte_tokenizer("dated")
    example = encode([talk(*TALK)], tokenizer)[0]
    assert preview(example, tokenizer)[0][0].startswith("Today is 26 Jul 2024\n<|im_start|>user")


def test_a_tokenizer_without_offsets_gives_the_same_mask(byte_tokenizer: Make) -> None:
    tokenizer = ByT5Tokenizer()
    tokenizer.chat_template = byte_tokenizer("no-generation-prompt").chat_template
    assert not tokenizer.is_fast
    example = encode([talk(*TALK)], tokenizer)[0]
    assert [text for text, trained in preview(example, tokenizer) if trained] == [
        "assistant: I am well\n",
        "assistant: bye then\n",
    ]


def test_without_a_template_turns_are_worded_as_guanaco_and_end_with_eos(byte_tokenizer: Make) -> None:
    tokenizer = byte_tokenizer(adds_bos=True)
    example = encode([talk(*TALK[:2])], tokenizer)[0]
    assert preview(example, tokenizer) == [
        ("<s>### Human: hello there\n### Assistant:", False),
        (" I am well</s>", True),
        ("\n", False),
    ]


def test_without_a_template_alpaca_rows_keep_their_own_wording(byte_tokenizer: Make) -> None:
    tokenizer = byte_tokenizer(adds_bos=True)
    row = Conversation(talk(*TALK[:2]).turns, "made.jsonl:1", prompt="### Instruction:\nhello\n\n### Response:\n")
    assert preview(encode([row], tokenizer)[0], tokenizer) == [
        ("<s>### Instruction:\nhello\n\n### Response:\n", False),
        ("I am well</s>", True),
    ]


def test_running_text_is_learnt_whole_between_bos_and_eos(byte_tokenizer: Make) -> None:
    tokenizer = byte_tokenizer("chatml", adds_bos=True)
    example = encode([Conversation((), "made.txt:1", text="hello there")], tokenizer)[0]
    assert preview(example, tokenizer) == [("<s>", False), ("hello there</s>", True)]
