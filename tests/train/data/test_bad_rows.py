"""Every way in which a row can be bad is found before a run, with its place and field."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.core.errors import DataError, MissingError, UsageError
from trimtab.train.data import read_rows
from trimtab.train.data.rows import PROBLEMS_SHOWN, ROW_LIMIT_BYTES

Write = Callable[..., Path]

ALPACA = {"instruction": "Add 2 and 2.", "input": "", "output": "4"}
CHAT = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]}
SHAREGPT = {"conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"}]}
COMPLETION = {"prompt": "2+2=", "completion": "4"}
TEXT = {"text": "some words"}
INSTANCES = {"instruction": "Add.", "instances": [{"input": "2 2", "output": "4"}]}
UNNATURAL = {"instruction": "Add.", "instances": [{"instruction_with_input": "Add 2 2", "input": "2 2", "output": "4"}]}
HH = {"chosen": "\n\nHuman: hello\n\nAssistant: hi", "rejected": "\n\nHuman: hello\n\nAssistant: no"}
CHIP2 = {"text": "<human>: hello\n<bot>: hi"}
FLAN = {"inputs": "2+2=", "targets": "4"}
LONGFORM = {"input": "2+2=", "output": "4"}
DOLLY = {"instruction": "Add 2 and 2.", "context": "", "response": "4"}
MESSAGE = {"message_id": "a", "parent_id": None, "text": "hello", "role": "prompter", "rank": None}
REPLY = {"message_id": "b", "parent_id": "a", "text": "hi", "role": "assistant", "rank": 0}
TREE = {"prompt": {"text": "hello", "role": "prompter", "replies": [{"text": "hi", "role": "assistant", "rank": 0}]}}


def messages(*turns: Any) -> dict[str, Any]:
    return {"messages": list(turns)}


def turn(role: Any, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


USER = turn("user", "hello")

BAD_ROWS: dict[str, tuple[Any, Any, str, str]] = {
    # name: (a good first row, the bad second row, its field, what is said of it)
    "output-missing": (ALPACA, {"instruction": "Add.", "input": ""}, "output", "missing; the row has 'instruction'"),
    "output-null": (ALPACA, {**ALPACA, "output": None}, "output", "null found, text expected"),
    "output-number": (ALPACA, {**ALPACA, "output": 4}, "output", "a number found, text expected"),
    "output-true": (ALPACA, {**ALPACA, "output": True}, "output", "true found"),
    "output-list": (ALPACA, {**ALPACA, "output": ["4"]}, "output", "a list found"),
    "output-object": (ALPACA, {**ALPACA, "output": {"a": 1}}, "output", "an object found"),
    "output-empty": (ALPACA, {**ALPACA, "output": ""}, "output", "empty"),
    "output-blank": (ALPACA, {**ALPACA, "output": " \n\t"}, "output", "empty"),
    "instruction-missing": (ALPACA, {"output": "4"}, "instruction", "missing"),
    "instruction-empty": (ALPACA, {**ALPACA, "instruction": ""}, "instruction", "empty"),
    "input-number": (ALPACA, {**ALPACA, "input": 1.5}, "input", "a number found"),
    "nul-character": (ALPACA, {**ALPACA, "output": "4\0"}, "output", "NUL character found at position 1"),
    "half-a-surrogate": (ALPACA, {**ALPACA, "output": "\ud83d"}, "output", "half a surrogate"),
    "dolly-response-number": (DOLLY, {**DOLLY, "response": 4}, "response", "a number found"),
    "messages-missing": (CHAT, {"id": 3}, "messages", "missing; the row has 'id'"),
    "messages-null": (CHAT, {"messages": None}, "messages", "null found, a list of objects expected"),
    "messages-text": (CHAT, {"messages": "hello"}, "messages", "text found, a list of objects expected"),
    "messages-empty": (CHAT, {"messages": []}, "messages", "an empty list"),
    "message-text": (CHAT, messages("hello"), "messages[0]", "text found, an object expected"),
    "role-missing": (CHAT, messages({"content": "hello"}), "messages[0].role", "missing; the turn has 'content'"),
    "content-missing": (CHAT, messages(USER, {"role": "assistant"}), "messages[1].content", "missing"),
    "role-unknown": (
        CHAT,
        messages(turn("wizard", "hello")),
        "messages[0].role",
        "unknown role 'wizard'; allowed: sys",
    ),
    "role-number": (CHAT, messages(turn(3, "hello")), "messages[0].role", "unknown role a number"),
    "content-null": (CHAT, messages(USER, turn("assistant", None)), "messages[1].content", "null found"),
    "content-empty": (CHAT, messages(USER, turn("assistant", "")), "messages[1].content", "empty"),
    "no-assistant-turn": (CHAT, messages(USER, USER), "messages", "no assistant turn among 2"),
    "only-a-system-turn": (CHAT, messages(turn("system", "be brief")), "messages", "no assistant turn among 1"),
    "image-part": (CHAT, messages(turn("user", [{"type": "image"}])), "messages[0].content[0]", "no text found"),
    "text-part-number": (
        CHAT,
        messages(turn("user", [{"type": "text", "text": 1}])),
        "messages[0].content[0].text",
        "a number found",
    ),
    "from-missing": (SHAREGPT, {"conversations": [{"value": "hello"}]}, "conversations[0].from", "missing"),
    "value-number": (SHAREGPT, {"conversations": [{"from": "gpt", "value": 1}]}, "conversations[0].value", "a number"),
    "from-unknown": (SHAREGPT, {"conversations": [{"from": "x", "value": "y"}]}, "conversations[0].from", "unknown"),
    "no-gpt-turn": (
        SHAREGPT,
        {"conversations": [{"from": "human", "value": "y"}]},
        "conversations",
        "no assistant turn",
    ),
    "conversations-object": (SHAREGPT, {"conversations": {"from": "gpt"}}, "conversations", "an object found"),
    "completion-missing": (COMPLETION, {"prompt": "2+2="}, "completion", "missing"),
    "completion-empty": (COMPLETION, {"prompt": "2+2=", "completion": ""}, "completion", "empty"),
    "prompt-list": (COMPLETION, {"prompt": ["2+2="], "completion": "4"}, "prompt", "a list found"),
    "text-missing": (TEXT, {"title": "x"}, "text", "missing"),
    "text-null": (TEXT, {"text": None}, "text", "null found"),
    "text-empty": (TEXT, {"text": ""}, "text", "empty"),
    "instances-missing": (INSTANCES, {"instruction": "Add."}, "instances", "missing"),
    "instances-empty": (INSTANCES, {**INSTANCES, "instances": []}, "instances", "an empty list"),
    "instance-number": (INSTANCES, {**INSTANCES, "instances": [3]}, "instances[0]", "a number found"),
    "instance-without-output": (
        INSTANCES,
        {**INSTANCES, "instances": [{"input": "2", "output": "2"}, {"input": "1"}]},
        "instances[1].output",
        "missing",
    ),
    "unnatural-number": (
        UNNATURAL,
        {"instruction": "Add.", "instances": [{"instruction_with_input": 1, "input": "", "output": "4"}]},
        "instances[0].instruction_with_input",
        "a number found",
    ),
    "chosen-number": (HH, {"chosen": 1}, "chosen", "a number found"),
    "chosen-without-speakers": (HH, {"chosen": "hello"}, "chosen", "does not begin with a speaker"),
    "chosen-unanswered": (HH, {"chosen": "\n\nHuman: hello"}, "chosen", "no assistant turn among 1"),
    "chosen-empty-answer": (HH, {"chosen": "\n\nHuman: hello\n\nAssistant: "}, "chosen (turn 2)", "empty"),
    "chip2-unanswered": (CHIP2, {"text": "<human>: hello"}, "text", "no assistant turn"),
    "targets-missing": (FLAN, {"inputs": "2+2="}, "targets", "missing"),
    "targets-number": (FLAN, {**FLAN, "targets": 4}, "targets", "a number found"),
    "longform-output-missing": (LONGFORM, {"input": "2+2="}, "output", "missing"),
    "tree-prompt-text": (TREE, {"prompt": "hello"}, "prompt", "text found, an object expected"),
    "tree-role-unknown": (TREE, {"prompt": {**TREE["prompt"], "role": "x"}}, "prompt.role", "unknown role 'x'"),
    "tree-replies-text": (TREE, {"prompt": {**TREE["prompt"], "replies": "x"}}, "prompt.replies", "text found"),
    "tree-reply-number": (TREE, {"prompt": {**TREE["prompt"], "replies": [1]}}, "prompt.replies[0]", "a number found"),
    "tree-reply-without-text": (
        TREE,
        {"prompt": {**TREE["prompt"], "replies": [{"role": "assistant"}]}},
        "prompt.replies[0].text",
        "missing",
    ),
    "message-id-number": (MESSAGE, {**REPLY, "message_id": 1}, "message_id", "a number found"),
    "message-id-twice": (MESSAGE, {**REPLY, "message_id": "a"}, "message_id", "'a' found again; it was read at"),
    "parent-number": (MESSAGE, {**REPLY, "parent_id": 1}, "parent_id", "a number found"),
    "rank-text": (MESSAGE, {**REPLY, "rank": "0"}, "rank", "text found, a number or null expected"),
    "message-text-null": (MESSAGE, {**REPLY, "text": None}, "text", "null found"),
    "another-format": (ALPACA, CHAT, "", "a row of format chat messages found in a file of format alpaca"),
    "row-is-a-list": (ALPACA, [1, 2], "", "a list found, an object expected"),
    "row-is-text": (ALPACA, "hello", "", "text found, an object expected"),
    "row-is-null": (ALPACA, None, "", "null found"),
    "row-is-empty": (ALPACA, {}, "", "an empty object found"),
    "no-json": (ALPACA, b"{instruction: 1}", "", "no JSON: Expecting property name"),
    "two-rows-on-a-line": (ALPACA, b'{"text": "a"} {"text": "b"}', "", "no JSON: Extra data at character 15"),
    "key-twice": (ALPACA, b'{"instruction": "a", "output": "b", "output": "c"}', "output", "stands twice"),
    "key-twice-inside": (CHAT, b'{"messages": [{"role": "user", "role": "x"}]}', "role", "stands twice"),
    "nul-byte": (ALPACA, b'{"instruction": "a\0"}', "", "a NUL byte found at byte 18"),
    "bad-utf8": (ALPACA, b'{"instruction": "\xe9t\xe9"}', "", "bad UTF-8 found at byte 17 (0xe9)"),
    "nested-too-deep": (ALPACA, b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "", "JSON that cannot be read"),
    "number-too-long": (ALPACA, b'{"a": ' + b"1" * 5000 + b"}", "", "JSON that cannot be read"),
    "row-too-large": (ALPACA, b'"' + b"a" * ROW_LIMIT_BYTES + b'"', "", f"a row of {ROW_LIMIT_BYTES + 3} bytes found"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_named_by_file_line_and_field(name: str, rows_file: Write) -> None:
    good, bad, field, what = BAD_ROWS[name]
    path = rows_file(good, bad)
    with pytest.raises(DataError) as caught:
        read_rows(path)
    place = f"{path}:2:{field}: " if field else f"{path}:2: "
    assert place in str(caught.value)
    assert what in str(caught.value)


@pytest.mark.parametrize("name", [name for name in BAD_ROWS if BAD_ROWS[name][0] is not MESSAGE])
def test_a_bad_row_is_skipped_and_counted_and_reading_goes_on(name: str, rows_file: Write) -> None:
    good, bad, _, _ = BAD_ROWS[name]
    rows = read_rows(rows_file(good, bad, good), on_bad_row="skip")
    assert len(rows) == 2
    assert rows.skipped == 1


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "no row can be used"),
        (b"\n\n\n", "no row can be used"),
        (b"\xef\xbb\xbf", "no row can be used"),
        (b'{"question": "2+2", "answer": "4"}\n', "a row with the keys 'question', 'answer' found; allowed: OASST"),
        (b'{"instruction": "a", "output": "b"}\n{"instruction": "a", "outp', ":2: the last line stops after 26 char"),
        ('{"text": "hello"}\n'.encode("utf-16"), "looks like UTF-16"),
    ],
    ids=["empty", "blank", "only-bom", "unknown-keys", "cut-off", "utf-16"],
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_a_bad_file_says_what_it_lacks(content: bytes, what: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(DataError, match=r"nothing was trained|no row") as caught:
        read_rows(path)
    assert what in str(caught.value)


BAD_DOCUMENTS = {
    "number": ("3", ":1: a number found"),
    "cut-off": ('[{"text": "a"},\n {"text": "b', ":2: the document stops in the middle"),
    "no-comma": ('[{"text": "a"}\n {"text": "b"}]', ":2: no JSON: one of , ] expected"),
    "rest": ('[{"text": "a"}]\n\n x', ":3: no JSON: something after the end"),
    "bad-row": ('[{"text": "a"},\n\n{"text": 1}]', ":3:text: a number found"),
    "key-twice": ('[{"text": "a"},\n{"text": "a", "text": "b"}]', ":2:text: the key stands twice"),
    "bad-utf8": ('[{"text": "a"},\n{"text": "\udce9"}]', ":2:text: bad UTF-8"),
    "deep": ('[{"text": ' + "[" * 200_000 + "]" * 200_000 + "}]", ":1: JSON that cannot be read"),
    "empty": ("[]", "no row can be used"),
}


@pytest.mark.parametrize("name", BAD_DOCUMENTS)
def test_a_bad_json_document_is_named_by_line(name: str, tmp_path: Path) -> None:
    content, what = BAD_DOCUMENTS[name]
    path = tmp_path / "rows.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert what in str(caught.value)


BAD_TABLES = {
    "short-row": ("prompt,completion\na,b\nc\n", ":3: 1 cells found, 2 expected (prompt, completion)"),
    "long-row": ("prompt,completion\na,b,c\n", ":2: 3 cells found, 2 expected"),
    "empty-cell": ("prompt,completion\na,\n", ":2:completion: empty"),
    "open-quote": ('prompt,completion\na,"b\n', ":2: no CSV row"),
    "stray-quote": ('prompt,completion\n"a"b,c\n', ":2: no CSV row"),
    "column-twice": ("prompt,prompt\na,b\n", ":1:prompt: named twice in the header"),
    "header-only": ("prompt,completion\n", "no row can be used"),
    "bad-utf8": ("prompt,completion\na,\udce9\n", ":2: bad UTF-8 found at byte 2"),
    "bad-utf8-in-a-cell": ('prompt,completion\n"a\n\udce9\nb",c\n', ":2: line 3 of this row is no text: bad UTF-8"),
    "nul-in-a-cell": ('prompt,completion\n"a\n\0",c\n', ":2: line 3 of this row is no text: a NUL byte"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_csv_row_is_named_by_line(name: str, tmp_path: Path) -> None:
    content, what = BAD_TABLES[name]
    path = tmp_path / "rows.csv"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert what in str(caught.value)


def test_a_csv_row_with_a_line_that_is_no_text_is_skipped_whole_and_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'prompt,completion\n"a\n\xe9\n\xe9\nb",c\nd,e\n')
    rows = read_rows(path, on_bad_row="skip")
    assert [conversation.turns[0].content for conversation in rows] == ["d"]
    assert (rows.skipped, len(rows.problems)) == (1, 1)


def test_a_torn_gzip_file_says_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    rows = b"".join(json.dumps({"text": f"row {n} {n * n * 7919}"}).encode() + b"\n" for n in range(5000))
    path.write_bytes(gzip.compress(rows)[:-2000])
    rows_read = read_rows(path, on_bad_row="skip")
    assert rows_read.skipped == 1
    assert "damaged or cut off" in rows_read.problems[0].what
    assert rows_read.problems[0].place == f"{path}:{len(rows_read) + 1}"


def test_a_file_that_is_no_gzip_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(b'{"text": "hello"}\n')
    with pytest.raises(DataError, match="damaged"):
        read_rows(path)


def test_the_first_twenty_problems_are_listed_and_all_are_counted(rows_file: Write) -> None:
    with pytest.raises(DataError) as caught:
        read_rows(rows_file(ALPACA, *[{**ALPACA, "output": n} for n in range(30)]))
    text = str(caught.value)
    assert "30 rows cannot be used" in text
    assert text.count("a number found") == PROBLEMS_SHOWN
    assert "... and 10 more" in text
    assert "--on-bad-row skip" in text


def test_no_row_left_is_an_error_even_when_bad_rows_are_skipped(rows_file: Write) -> None:
    with pytest.raises(DataError, match="no row can be used"):
        read_rows(rows_file({**ALPACA, "output": 4}), on_bad_row="skip")


def test_a_misspelt_file_suggests_the_near_one(rows_file: Write) -> None:
    path = rows_file(ALPACA, name="alpaca.jsonl")
    with pytest.raises(MissingError, match=r"Did you mean 'alpaca\.jsonl'"):
        read_rows(path.with_name("alpacca.jsonl"))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="this is a folder"):
        read_rows(tmp_path)


@pytest.mark.parametrize("name", ["rows.xlsx", "rows", "rows.gz", ".jsonl", "rows.parquet.gz"])
def test_an_unknown_kind_of_file_lists_the_known_ones(name: str, rows_file: Write) -> None:
    with pytest.raises(UsageError, match=r"\.jsonl, \.json, \.csv, \.parquet, \.txt"):
        read_rows(rows_file(ALPACA, name=name))
