"""Trees of messages: which path is followed, and what is left out."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.train.data import RowSet, read_rows

Write = Callable[..., Path]

REAL_TREES = Path(__file__).parents[2] / "data" / "oasst1_20_trees.jsonl.gz"


def message(name: str, parent: str | None, *, rank: int | None = None, deleted: bool = False) -> dict[str, Any]:
    """Make a message whose role follows from its depth, which is the length of its name."""
    role = "prompter" if len(name) % 2 else "assistant"
    return {
        "message_id": name, "parent_id": parent, "text": f"text {name}", "role": role, "rank": rank, "deleted": deleted,
    }  # fmt: skip


def nested(flat: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Make the nested form of a tree from its flat messages."""
    row = next(row for row in flat if row["message_id"] == name)
    return {**row, "replies": [nested(flat, reply["message_id"]) for reply in flat if reply["parent_id"] == name]}


TREE = [
    message("a", None),
    message("ab", "a", rank=1),
    message("ac", "a", rank=0),
    message("aca", "ac", rank=1),
    message("acb", "ac", rank=0),
    message("acba", "acb", rank=0),
    message("aba", "ab"),
    message("abaa", "aba"),
]


def paths_of(rows: RowSet) -> list[list[str]]:
    return [[turn.content.removeprefix("text ") for turn in conversation.turns] for conversation in rows]


def test_the_best_ranked_reply_is_followed(rows_file: Write) -> None:
    assert paths_of(read_rows(rows_file(*TREE))) == [["a", "ac", "acb", "acba"]]


def test_every_path_ends_with_an_answer(rows_file: Write) -> None:
    assert paths_of(read_rows(rows_file(*TREE), paths="all")) == [
        ["a", "ac", "acb", "acba"],
        ["a", "ab", "aba", "abaa"],
    ]


def test_no_path_is_the_beginning_of_another(rows_file: Write) -> None:
    paths = paths_of(read_rows(REAL_TREES, paths="all"))
    assert not any(one == other[: len(one)] for one in paths for other in paths if one is not other)


def test_nested_trees_give_what_flat_messages_give(rows_file: Write) -> None:
    flat = paths_of(read_rows(rows_file(*TREE), paths="all"))
    tree = rows_file({"prompt": nested(TREE, "a")}, name="nested.jsonl")
    assert paths_of(read_rows(tree, paths="all")) == flat


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_lines_does_not_matter(seed: int, rows_file: Write) -> None:
    shuffled = random.Random(seed).sample(TREE, len(TREE))
    assert paths_of(read_rows(rows_file(*shuffled))) == [["a", "ac", "acb", "acba"]]


def test_unranked_replies_come_after_ranked_ones_in_the_files_order(rows_file: Write) -> None:
    rows = [message("a", None), message("ab", "a"), message("ac", "a"), message("ad", "a", rank=7)]
    assert paths_of(read_rows(rows_file(*rows), paths="all")) == [["a", "ad"], ["a", "ab"], ["a", "ac"]]


def test_a_rank_beyond_every_number_is_none(rows_file: Write) -> None:
    path = rows_file(message("a", None), message("ab", "a", rank=77), message("ac", "a", rank=7))
    path.write_text(path.read_text().replace("77", "1e999"))
    assert paths_of(read_rows(path, paths="all")) == [["a", "ac"], ["a", "ab"]]


def test_a_deleted_message_is_left_out_with_its_replies_and_counted(rows_file: Write) -> None:
    rows = [row if row["message_id"] != "ac" else {**row, "deleted": True} for row in TREE]
    found = read_rows(rows_file(*rows))
    assert paths_of(found) == [["a", "ab", "aba", "abaa"]]
    assert found.notes == ("OASST messages deleted, left out with the replies to them: 1.",)


def test_replies_to_messages_that_are_not_there_are_counted(rows_file: Write) -> None:
    found = read_rows(rows_file(*TREE, message("zz", "z"), message("zza", "zz")))
    assert len(found) == 1
    assert "is not in the file), left out: 2." in found.notes[0]


def test_messages_that_reply_to_each_other_in_a_ring_end_nothing(rows_file: Write) -> None:
    found = read_rows(rows_file(*TREE, message("xy", "xyz"), message("xyz", "xy")))
    assert len(found) == 1
    assert "left out: 2." in found.notes[0]


def test_an_unanswered_root_is_counted(rows_file: Write) -> None:
    found = read_rows(rows_file(*TREE, message("b", None)))
    assert found.notes == ("OASST messages roots without an answer, left out: 1.",)
    assert found.skipped == 0


def test_a_path_of_a_thousand_replies_is_followed(rows_file: Write) -> None:
    rows = [message("a" * n, "a" * (n - 1) or None) for n in range(1, 1001)]
    assert len(read_rows(rows_file(*rows)).conversations[0].turns) == 1000


def test_a_conversation_lies_where_its_root_does(rows_file: Write) -> None:
    path = rows_file(*reversed(TREE))
    assert read_rows(path).conversations[0].place == f"{path}:{len(TREE)}"


def test_real_trees_give_one_conversation_each() -> None:
    rows = read_rows(REAL_TREES)
    assert len(rows) == 20
    assert all(conversation.turns[0].role == "user" for conversation in rows)
    assert all(conversation.turns[-1].role == "assistant" for conversation in rows)


def test_real_trees_give_a_path_for_every_answer_that_nothing_answers_on() -> None:
    lines = gzip.decompress(REAL_TREES.read_bytes()).splitlines()
    rows = [row for row in map(json.loads, lines) if not row["deleted"]]
    role = {row["message_id"]: row["role"] for row in rows}
    above = {row["message_id"]: row["parent_id"] for row in rows}
    answers = {name for name in role if role[name] == "assistant"}
    answered_on = {above[above[name]] for name in answers if above[name] in above}
    assert len(read_rows(REAL_TREES, paths="all")) == len(answers - answered_on)
