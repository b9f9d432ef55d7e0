"""The window: what is cut, what is refused, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.core.errors import DataError, RangeError
from trimtab.train.data import Conversation, DataSettings, Turn, encode, encode_seq2seq, preview, read_rows

Make = Callable[..., Any]

REAL_TREES = Path(__file__).parents[2] / "data" / "oasst1_20_trees.jsonl.gz"


def asked(question: str, answer: str, *, line: int = 1, prompt: str = "") -> Conversation:
    return Conversation((Turn("user", question), Turn("assistant", answer)), f"made.jsonl:{line}", prompt=prompt)


SHORT = asked("hello", "bye")
LONG_ANSWER = asked("hello", "bye " * 100, line=2)
LONG_QUESTION = asked("hello " * 100, "bye", line=3)


def test_a_long_answer_is_cut_at_its_right_end_and_that_is_said(byte_tokenizer: Make) -> None:
    tokenizer = byte_tokenizer("chatml")
    whole = encode([LONG_ANSWER], tokenizer, DataSettings(max_length=4096))[0]
    examples = encode([SHORT, LONG_ANSWER], tokenizer, DataSettings(max_length=64))
    assert examples[1].input_ids == whole.input_ids[:64]
    assert examples.cut == ("made.jsonl:2",)
    assert any("1 of 2 examples were longer than the window (max_length = 64)" in note for note in examples.notes)


def test_nothing_is_said_of_cutting_where_all_rows_fit(byte_tokenizer: Make) -> None:
    assert len(encode([SHORT], byte_tokenizer("chatml")).notes) == 1


def test_a_row_beyond_the_window_is_a_bad_row_if_that_is_asked_for(byte_tokenizer: Make) -> None:
    settings = DataSettings(max_length=64, truncation="stop")
    with pytest.raises(DataError, match=r"made\.jsonl:2: \d+ tokens found, at most max_length = 64 allowed"):
        encode([SHORT, LONG_ANSWER], byte_tokenizer("chatml"), settings)


def test_a_prompt_that_fills_the_window_leaves_nothing_to_learn_and_is_reported(byte_tokenizer: Make) -> None:
    with pytest.raises(
        DataError, match=r"made\.jsonl:3: \d+ tokens found before the first one to learn.*raise max_len"
    ):
        encode([SHORT, LONG_QUESTION], byte_tokenizer("chatml"), DataSettings(max_length=64))


def test_rows_with_nothing_left_to_learn_are_skipped_and_counted(byte_tokenizer: Make) -> None:
    settings = DataSettings(max_length=64, on_bad_row="skip")
    examples = encode([SHORT, LONG_QUESTION, LONG_ANSWER], byte_tokenizer("chatml"), settings)
    assert [example.place for example in examples] == ["made.jsonl:1", "made.jsonl:2"]
    assert examples.skipped == 1
    assert any("1 row was left out: made.jsonl:3" in note for note in examples.notes)


def test_skipping_every_row_is_an_error(byte_tokenizer: Make) -> None:
    with pytest.raises(DataError, match="no row is left to learn from"):
        encode([LONG_QUESTION], byte_tokenizer("chatml"), DataSettings(max_length=64, on_bad_row="skip"))


@pytest.mark.parametrize("window", range(2, 40))
def test_no_example_is_longer_than_the_window_nor_without_something_to_learn(window: int, byte_tokenizer: Make) -> None:
    rows = [asked("hello " * n, "bye " * n, line=n) for n in range(1, 12)]
    settings = DataSettings(max_length=window, on_bad_row="skip")
    try:
        examples = encode(rows, byte_tokenizer("chatml"), settings)
    except DataError:
        return
    assert all(len(example) <= window and any(example.trained[1:]) for example in examples)
    assert len(examples) + examples.skipped == len(rows)


def test_source_and_target_have_caps_of_their_own(byte_tokenizer: Make) -> None:
    tokenizer = byte_tokenizer()
    row = asked("", "bye " * 20, prompt="hello there " * 10)
    whole = encode([row], tokenizer)[0]
    begins = whole.trained.index(True)
    cut = encode([row], tokenizer, DataSettings(source_max_length=7, target_max_length=9))[0]
    assert cut.input_ids == whole.input_ids[:7] + whole.input_ids[begins : begins + 9]
    assert cut.trained == [False] * 7 + [True] * 9


def test_the_guanaco_recipe_puts_the_whole_conversation_into_the_target(byte_tokenizer: Make) -> None:
    settings = DataSettings(max_length=528, source_max_length=16, target_max_length=512, loss_on="all")
    examples = encode(read_rows(REAL_TREES), byte_tokenizer(adds_bos=True), settings)
    assert len(examples) == 20
    assert all(all(example.trained) for example in examples)
    assert max(map(len, examples)) == 512


@pytest.mark.parametrize("settings", [{"max_length": 50}, {"max_length": 90, "target_max_length": 50}])
def test_running_text_is_split_into_windows_and_nothing_is_lost(settings: Any, byte_tokenizer: Make) -> None:
    tokenizer = byte_tokenizer(adds_bos=True)
    text = "hello there, how are you? " * 40
    examples = encode([Conversation((), "made.txt:1", text=text)], tokenizer, DataSettings(**settings))
    assert tokenizer.decode([i for example in examples for i in example.input_ids]) == f"<s>{text}</s>"
    assert max(map(len, examples)) == 50
    assert examples[1].place == "made.txt:1 (window 2)"
    assert examples.cut == ()


def test_encoding_twice_gives_the_same(byte_tokenizer: Make) -> None:
    rows = read_rows(REAL_TREES)
    settings = DataSettings(max_length=2048)
    assert encode(rows, byte_tokenizer("llama3"), settings) == encode(rows, byte_tokenizer("llama3"), settings)


def test_trained_tokens_leave_out_the_first_token_which_nothing_predicts(byte_tokenizer: Make) -> None:
    examples = encode([SHORT], byte_tokenizer("chatml"), DataSettings(loss_on="all"))
    assert examples.trained_tokens == len(examples[0]) - 1


def test_an_encoder_reads_the_question_and_a_decoder_writes_the_answer(word_tokenizer: Make) -> None:
    tokenizer = word_tokenizer(adds_eos=True)
    example = encode_seq2seq([asked("", "It is four.", prompt="What is two plus")], tokenizer)[0]
    assert tokenizer.convert_ids_to_tokens(example.input_ids) == ["▁What", "▁is", "▁two", "▁plus", "</s>"]
    assert tokenizer.convert_ids_to_tokens(example.target_ids) == ["▁It", "▁is", "▁four.", "</s>"]
    assert not any(example.trained)


def test_an_encoder_reads_all_turns_before_the_last_answer(byte_tokenizer: Make) -> None:
    turns = (Turn("user", "hello"), Turn("assistant", "hi"), Turn("user", "and now?"), Turn("assistant", "bye"))
    tokenizer = byte_tokenizer()
    example = encode_seq2seq([Conversation(turns, "made.jsonl:1")], tokenizer)[0]
    assert preview(example, tokenizer) == [
        ("### Human: hello\n### Assistant: hi</s>\n### Human: and now?\n### Assistant:", False),
        ("bye</s>", True),
    ]


def test_an_encoder_and_a_decoder_have_windows_of_their_own(byte_tokenizer: Make) -> None:
    rows = [asked("", "bye " * 50, prompt="hello " * 50)]
    settings = DataSettings(source_max_length=16, target_max_length=8)
    examples = encode_seq2seq(rows, byte_tokenizer(), settings)
    assert len(examples[0].input_ids) == 16
    assert len(examples[0].target_ids or ()) == 8
    assert examples.cut == ("made.jsonl:1",)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (Conversation((), "made.txt:1", text="hello"), "made.txt:1:text: running text found"),
        (Conversation((Turn("assistant", "hello"),), "made.jsonl:1"), "an answer without anything before it"),
    ],
)
def test_an_encoder_needs_something_to_read(row: Conversation, what: str, byte_tokenizer: Make) -> None:
    with pytest.raises(DataError) as caught:
        encode_seq2seq([row], byte_tokenizer())
    assert what in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_length": 1},
        {"max_length": 0},
        {"source_max_length": 0},
        {"target_max_length": -1},
        {"loss_on": "everything"},
        {"on_bad_row": "ignore"},
        {"truncation": "left"},
        {"eval_fraction": 1.0},
        {"eval_fraction": -0.1},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    settings = DataSettings()
    for name, value in wrong.items():
        object.__setattr__(
            settings, name, value
        )  # past the type checks of the tests, which a person's words never meet
    with pytest.raises(RangeError, match=f"{next(iter(wrong))} = .*llowed"):
        settings.__post_init__()
