"""Whatever a file holds, reading it gives conversations or problems with places, and never anything else."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.core.errors import DataError
from trimtab.train.data import Conversation, DataSettings, Example, RowSet, Turn, encode, preview, read_rows

KEYS = [
    "instruction", "input", "output", "response", "context", "messages", "conversations", "conversation", "role",
    "content", "from", "value", "system", "prompt", "completion", "text", "chosen", "rejected", "instances",
    "instruction_with_input", "inputs", "targets", "message_id", "parent_id", "rank", "deleted", "replies", "type",
]  # fmt: skip
WORDS = [
    "user", "assistant", "human", "gpt", "prompter", "system", "a", "b", "text", "", " ", "\0", "\ud800", "<human>: x",
    "<human>: x\n<bot>: y", "\n\nHuman: x\n\nAssistant: y", "\n\nHuman: x", "\u2028", "\ufeff", "\x85",
]  # fmt: skip

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner),
    max_leaves=12,
)
turns = st.fixed_dictionaries({}, optional=dict.fromkeys(("role", "content", "from", "value"), scalars))
rows = st.dictionaries(st.sampled_from(KEYS), values | st.lists(turns, max_size=3), max_size=5) | values


def read(content: bytes, name: str) -> RowSet | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            return read_rows(path, on_bad_row="skip")
        except DataError:
            return None


def assert_sound(found: RowSet | None) -> None:
    """Check what every reader downstream relies on."""
    if found is None:
        return
    for conversation in found:
        assert conversation.place.rpartition(":")[2].isdigit()
        assert conversation.text.strip() or any(turn.role == "assistant" for turn in conversation.turns)
        for turn in conversation.turns:
            turn.content.encode()
            assert turn.content.strip() or turn.role == "system"
    for problem in found.problems:
        assert problem.place.rpartition(":")[2].isdigit()
        assert problem.what


quick = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(st.lists(rows, max_size=4))
def test_any_json_lines_give_conversations_or_problems(drawn: list[Any]) -> None:
    assert_sound(read("\n".join(map(json.dumps, drawn)).encode(), "rows.jsonl"))


@quick
@given(st.lists(rows, max_size=4))
def test_any_json_document_gives_conversations_or_problems(drawn: list[Any]) -> None:
    assert_sound(read(json.dumps(drawn, indent=1).encode(), "rows.json"))


@quick
@given(st.binary(max_size=200), st.sampled_from(["rows.jsonl", "rows.json", "rows.csv", "rows.txt", "rows.jsonl.gz"]))
def test_any_bytes_give_conversations_or_problems(content: bytes, name: str) -> None:
    assert_sound(read(content, name))


@quick
@given(st.lists(st.lists(st.sampled_from([*WORDS, "prompt,completion", '"', ",", "\n", "x"]), max_size=5), max_size=6))
def test_any_table_gives_conversations_or_problems(cells: list[list[str]]) -> None:
    table = "\n".join(["prompt,completion", *(",".join(line) for line in cells)])
    assert_sound(read(table.encode(errors="surrogatepass"), "rows.csv"))


@quick
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_one_changed_byte_is_never_more_than_a_problem(position: int, byte: int) -> None:
    sound = b"".join(json.dumps({"prompt": f"ask {n}", "completion": f"say {n}"}).encode() + b"\n" for n in range(9))
    changed = bytearray(sound)
    changed[position % len(sound)] = byte
    found = read(bytes(changed), "rows.jsonl")
    assert_sound(found)
    assert found is not None
    assert len(found) >= 7


said = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20).filter(
    lambda text: text.strip() and "<|" not in text
)


@settings(max_examples=100, deadline=None)
@given(answers=st.lists(st.tuples(said, said), min_size=1, max_size=4))
@pytest.mark.parametrize("family", ["chatml", "phi3"])
def test_exactly_the_answers_are_learnt_whatever_they_say(
    answers: list[tuple[str, str]], family: str, byte_tokenizer: Callable[..., Any]
) -> None:
    tokenizer = byte_tokenizer(family)
    mark = "<|im_end|>" if family == "chatml" else "<|end|>"
    spoken = [Turn(role, text) for pair in answers for role, text in zip(("user", "assistant"), pair, strict=True)]
    example = encode([Conversation(tuple(spoken), "made:1")], tokenizer, DataSettings(max_length=4096))[0]
    assert [text for text, learnt in preview(example, tokenizer) if learnt] == [f"{text}{mark}" for _, text in answers]


@settings(max_examples=50, deadline=None)
@given(marks=st.lists(st.booleans(), min_size=1, max_size=30))
def test_a_preview_is_the_whole_example(marks: list[bool], byte_tokenizer: Callable[..., Any]) -> None:
    tokenizer = byte_tokenizer()
    ids = [50 + n for n in range(len(marks))]
    pieces = preview(Example(ids, marks, "made:1"), tokenizer)
    assert "".join(text for text, _ in pieces) == tokenizer.decode(ids)
    assert all(one[1] != other[1] for one, other in pairwise(pieces))
