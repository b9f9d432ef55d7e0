"""Rows of every format become the conversations that their data set means."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from needs import need
from trimtab.core.errors import DataError, ResourceError, UsageError
from trimtab.train.data import RowSet, read_rows
from trimtab.train.data.instructions import alpaca_prompt
from trimtab.train.data.sources import TEXT_BLOCK_CHARACTERS, hub_name

Write = Callable[..., Path]

HELLO = [("user", "hello"), ("assistant", "hi")]
BRIEF = [("system", "be brief"), *HELLO]


def need_hub_extra(package: str) -> None:
    need(find_spec(package) is not None, f"the package {package}", "Install it with: pip install 'trimtab[hub]'.")


def turns_of(rows: RowSet, index: int = 0) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in rows.conversations[index].turns]


def chat(*turns: tuple[str, str], names: tuple[str, str] = ("role", "content")) -> list[dict[str, str]]:
    return [dict(zip(names, turn, strict=True)) for turn in turns]


GOOD_ROWS: dict[str, tuple[str, dict[str, Any], list[tuple[str, str]]]] = {
    "alpaca": ("alpaca", {"instruction": "hello", "input": "", "output": "hi"}, HELLO),
    "alpaca-without-input": ("alpaca", {"instruction": "hello", "output": "hi"}, HELLO),
    "alpaca-null-input": ("alpaca", {"instruction": "hello", "input": None, "output": "hi"}, HELLO),
    "alpaca-with-input": (
        "alpaca",
        {"instruction": "Add.", "input": "2 2", "output": "4", "text": "the wording of the data set"},
        [("user", "Add.\n\n2 2"), ("assistant", "4")],
    ),
    "dolly": ("Dolly", {"instruction": "hello", "context": "", "response": "hi", "category": "qa"}, HELLO),
    "chat": ("chat messages", {"messages": chat(*BRIEF)}, BRIEF),
    "chat-parts": (
        "chat messages",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}, *chat(HELLO[1])]},
        HELLO,
    ),
    "chat-under-conversations": ("chat messages", {"conversations": chat(*HELLO)}, HELLO),
    "chat-tool": (
        "chat messages",
        {"messages": chat(("user", "hello"), ("tool", "4"), ("assistant", "hi"))},
        [("user", "hello"), ("tool", "4"), ("assistant", "hi")],
    ),
    "sharegpt": (
        "ShareGPT",
        {"conversations": chat(("system", "be brief"), ("human", "hello"), ("gpt", "hi"), names=("from", "value"))},
        BRIEF,
    ),
    "sharegpt-system-beside": (
        "ShareGPT",
        {"system": "be brief", "conversations": chat(("human", "hello"), ("gpt", "hi"), names=("from", "value"))},
        BRIEF,
    ),
    "completion": ("prompt and completion", {"prompt": "hello", "completion": "hi"}, HELLO),
    "completion-of-messages": (
        "prompt and completion",
        {"prompt": chat(*BRIEF[:2]), "completion": chat(BRIEF[2])},
        BRIEF,
    ),
    "hh-rlhf": ("HH-RLHF", {"chosen": "\n\nHuman: hello\n\nAssistant: hi", "rejected": "x"}, HELLO),
    "hh-rlhf-messages": ("HH-RLHF", {"chosen": chat(*HELLO), "rejected": chat(*HELLO)}, HELLO),
    "chip2": ("Chip2", {"text": "<human>: hello\n<bot>: hi", "metadata": {}}, HELLO),
    "longform": ("LongForm", {"input": "hello", "output": "hi", "source": "x", "subset": "y"}, HELLO),
    "flan": ("FLAN", {"inputs": "hello", "targets": "hi", "task": "x"}, HELLO),
    "self-instruct": (
        "Self-Instruct",
        {"id": "seed_task_0", "name": "x", "instruction": "hello", "instances": [{"input": "", "output": "hi"}]},
        HELLO,
    ),
    "unnatural": (
        "Unnatural Instructions",
        {
            "instruction": "x",
            "instances": [{"instruction_with_input": "hello", "input": "y", "output": "hi", "constraints": "None."}],
        },
        HELLO,
    ),
    "tree": (
        "OASST trees",
        {
            "message_tree_id": "x",
            "prompt": {"text": "hello", "role": "prompter", "replies": [{"text": "hi", "role": "assistant"}]},
        },
        HELLO,
    ),
}


@pytest.mark.parametrize("name", GOOD_ROWS)
def test_a_row_becomes_its_conversation(name: str, rows_file: Write) -> None:
    format_name, row, expected = GOOD_ROWS[name]
    rows = read_rows(rows_file(row))
    assert rows.format == format_name
    assert turns_of(rows) == expected


def test_a_text_row_is_running_text(rows_file: Write) -> None:
    conversation = read_rows(rows_file({"text": "hello there"})).conversations[0]
    assert conversation.text == "hello there"
    assert conversation.turns == ()


def test_each_instance_is_a_conversation(rows_file: Write) -> None:
    instances = [{"input": "2 2", "output": "4"}, {"input": "2 3", "output": "5"}]
    rows = read_rows(rows_file({"instruction": "Add.", "instances": instances}))
    assert [turns_of(rows, index)[1][1] for index in range(2)] == ["4", "5"]


def test_alpaca_rows_carry_the_published_wording(rows_file: Write) -> None:
    rows = read_rows(rows_file({"instruction": "Add.", "input": "2 2", "output": "4"}))
    prompt = rows.conversations[0].prompt
    assert prompt == alpaca_prompt("Add.", "2 2")
    assert prompt.startswith("Below is an instruction that describes a task, paired with an input that provides")
    assert prompt.endswith("### Instruction:\nAdd.\n\n### Input:\n2 2\n\n### Response:\n")


def test_the_wording_without_input_has_no_input_part() -> None:
    assert "nput" not in alpaca_prompt("Add.")


def test_hh_rlhf_keeps_what_a_speaker_says_over_several_paragraphs(rows_file: Write) -> None:
    chosen = "\n\nHuman: one\n\ntwo\n\nAssistant: three\n\nHuman: four\n\nAssistant: five"
    rows = read_rows(rows_file({"chosen": chosen}))
    assert turns_of(rows) == [("user", "one\n\ntwo"), ("assistant", "three"), ("user", "four"), ("assistant", "five")]


def test_byte_order_mark_and_windows_line_ends_are_accepted(rows_file: Write) -> None:
    row = json.dumps({"instruction": "hello", "output": "hi"}).encode()
    path = rows_file(b"\xef\xbb\xbf" + row + b"\r", row + b"\r", end=b"\r\n")
    rows = read_rows(path)
    assert [conversation.place for conversation in rows] == [f"{path}:1", f"{path}:2"]


def test_blank_lines_count_in_places_and_nowhere_else(rows_file: Write) -> None:
    path = rows_file({"text": "a"}, b"", b"  ", {"text": "b"}, end=b"")
    assert [conversation.place for conversation in read_rows(path)] == [f"{path}:1", f"{path}:4"]


@pytest.mark.parametrize(
    "document",
    [
        '[\n{"text": "a"},\n{"text": "b"}\n]',
        '{"version": 1,\n"data": [{"text": "a"}, {"text": "b"}], "more": "x"}',
        '{"text": "a"}\n{"text": "b"}',
        '\ufeff[{"text": "a"}, {"text": "b"}]\r\n',
    ],
    ids=["array", "object-that-holds-rows", "rows-one-after-another", "byte-order-mark"],
)
def test_a_json_document_gives_its_rows(document: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(document.encode())
    assert [conversation.text for conversation in read_rows(path)] == ["a", "b"]


@pytest.mark.parametrize(
    "document",
    ["[%s,\n%s]", '{"data": [%s,\n%s]}', "%s\n%s"],
    ids=["array", "object-that-holds-rows", "rows-one-after-another"],
)
def test_reading_a_document_goes_on_behind_a_row_with_a_key_twice(document: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(document % ('{"text": "a", "text": "b"}', '{"text": "c"}'))
    rows = read_rows(path, on_bad_row="skip")
    assert [conversation.text for conversation in rows] == ["c"]
    assert [str(problem).split(": the key")[0] for problem in rows.problems] == [f"{path}:1:text"]


def test_a_single_row_may_be_a_whole_document(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"messages": chat(*HELLO)}, indent=1))
    assert turns_of(read_rows(path)) == HELLO


def test_rows_of_a_document_know_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"text": "a"}, {"text": "b"}], indent=1))
    assert [conversation.place for conversation in read_rows(path)] == [f"{path}:2", f"{path}:5"]


def test_csv_cells_may_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'prompt,completion\r\n"a, ""b""\nc",d\r\ne,f\r\n')
    rows = read_rows(path)
    assert turns_of(rows) == [("user", 'a, "b"\nc'), ("assistant", "d")]
    assert [conversation.place for conversation in rows] == [f"{path}:2", f"{path}:4"]


def test_blank_lines_in_a_csv_cell_are_kept_and_those_between_rows_are_not_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('\nprompt,completion\n\n"one\n\n \ntwo",d\n\n  \ne,f\n\n')
    rows = read_rows(path)
    assert turns_of(rows) == [("user", "one\n\n \ntwo"), ("assistant", "d")]
    assert [conversation.place for conversation in rows] == [f"{path}:4", f"{path}:10"]


def test_a_text_file_keeps_its_lines_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("one\n\n\ntwo\nthree")
    assert [conversation.text for conversation in read_rows(path)] == ["one\n\n\ntwo\nthree"]


def test_a_long_text_file_is_read_in_blocks_of_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    line = "x" * 99
    path.write_text(f"{line}\n" * (TEXT_BLOCK_CHARACTERS // 50))
    rows = read_rows(path)
    assert len(rows) > 1
    assert "".join(conversation.text for conversation in rows) == path.read_text()


def test_parquet_rows_are_read(tmp_path: Path) -> None:
    need_hub_extra("pyarrow")
    import pyarrow as arrow
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(arrow.Table.from_pylist([{"messages": chat(*HELLO)}, {"messages": chat(*BRIEF)}]), path)
    rows = read_rows(path)
    assert turns_of(rows, 1) == BRIEF
    assert rows.conversations[1].place == f"{path}:2"


def test_a_damaged_parquet_file_is_reported(tmp_path: Path) -> None:
    need_hub_extra("pyarrow")
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match="no readable Parquet file"):
        read_rows(path)


@pytest.mark.parametrize(("source", "package"), [("rows.parquet", "pyarrow"), ("hf:owner/name", "datasets")])
def test_a_missing_package_is_named_with_its_extra(
    source: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for module in (package, f"{package}.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.parquet").write_bytes(b"")
    with pytest.raises(ResourceError, match=rf"{package}, which is not installed.*trimtab\[hub\]"):
        read_rows(source)


def test_a_data_set_that_cannot_be_reached_is_an_error_with_its_name() -> None:
    need_hub_extra("datasets")
    with pytest.raises(ResourceError, match="hf:nobody/nothing: the data set cannot be loaded"):
        read_rows("hf:nobody/nothing")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("hf:name", ("name", None, "train")),
        ("hf:owner/name", ("owner/name", None, "train")),
        ("hf:owner/name:test", ("owner/name", None, "test")),
        ("hf:owner/name/english", ("owner/name", "english", "train")),
        ("hf:owner/name/english:train[:5%]", ("owner/name", "english", "train[:5%]")),
    ],
)
def test_a_hub_name_is_taken_apart(source: str, expected: tuple[str, str | None, str]) -> None:
    assert hub_name(source) == expected


@pytest.mark.parametrize("source", ["hf:", "hf:/name", "hf:a/b/c/d", "hf::train"])
def test_a_hub_name_that_is_none_is_refused(source: str) -> None:
    with pytest.raises(UsageError, match="no data set's name"):
        read_rows(source)


def test_packed_files_hash_as_they_lie_on_disk(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n'))
    assert read_rows(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
