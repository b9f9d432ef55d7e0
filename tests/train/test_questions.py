"""Held-out prompts: asked in the words of their rows, and answered by this run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from train_runs import Making, run, run_until
from trimtab.models.tokenizer import read_tokenizer
from trimtab.train.prepare import read_data
from trimtab.train.questions import FILE_NAME, Answered, read_answers
from trimtab.train.request import TrainRequest

DAMAGED = ["", "{", "7", "[1]", "{}", '{"a": 1}', '[{"prompt": "a"}]', '[{"evil": "a"}]', "[" * 100_000]


def _asking(making: Making, **settings: Any) -> TrainRequest:
    return replace(making(save_every=1, **settings), questions=2, answer_tokens=3)


def _put(request: TrainRequest, **said: str) -> None:
    """Let the answers on disk say something else."""
    path = request.out / FILE_NAME
    path.write_text(json.dumps([item | said for item in json.loads(path.read_text())]))


def test_answers_of_a_run_that_never_saved_are_forgotten(making: Making) -> None:
    request = _asking(making)
    run_until(request, 1)
    shutil.rmtree(request.out / "checkpoints")
    _put(request, before="said by another base")
    run(request)
    assert all(item.before != "said by another base" for item in read_answers(request.out))


def test_answers_of_a_run_that_goes_on_are_taken_up(making: Making) -> None:
    request = _asking(making)
    run_until(request, 1)
    _put(request, before="said before")
    run(request)
    answered = read_answers(request.out)
    assert [item.before for item in answered] == ["said before"] * 2
    assert all(item.prompt.startswith("on ") for item in answered)


def test_a_run_that_asks_nothing_leaves_no_answers_of_another(making: Making) -> None:
    request = making()
    request.out.mkdir()
    (request.out / FILE_NAME).write_text(json.dumps([{"prompt": "a", "expected": "b"}]))
    run(request)
    assert read_answers(request.out) == []


@pytest.mark.parametrize("content", DAMAGED, ids=lambda text: text[:9])
def test_damaged_answers_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    assert read_answers(tmp_path) == []


def test_an_answer_that_is_no_text_becomes_text(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('[{"prompt": 1, "expected": null, "before": ["a"]}]')
    assert read_answers(tmp_path) == [Answered("1", "None", "['a']")]


def test_of_a_row_with_several_conversations_no_one_question_is_shown(making: Making, tmp_path: Path) -> None:
    instances = [{"input": f"{n} 2", "output": f"{n + 2}"} for n in range(3)]
    rows = [{"instruction": f"Add {n}.", "instances": instances[: 1 + n % 2]} for n in range(12)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    request = making(data=path, eval_fraction=0.5)
    data = read_data(request, read_tokenizer(request.model))
    places = {example.place for example in data.held_out}
    alone = {f"{path}:{n + 1}" for n in range(0, 12, 2)}
    assert places - alone
    assert data.questions.keys() == places & alone
