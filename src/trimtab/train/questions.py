"""Held-out prompts answered before and after training, so that a person sees what was learned."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from trimtab.core.job import Event, Progress
from trimtab.core.seeds import put_state, take_state
from trimtab.models.language_model import LanguageModel
from trimtab.nn.linear import set_exact
from trimtab.nn.lora import base_only, lora_layers
from trimtab.store.durable import write_bytes
from trimtab.text.batch import greedy_answers
from trimtab.train.data import Example
from trimtab.train.prepare import TrainingData

FILE_NAME: Final = "answers.json"
LONGEST_PROMPT: Final = 1024


@dataclass(frozen=True)
class Answered:
    """A held-out prompt, what the data answers, and what the model answered before and after."""

    prompt: str
    expected: str
    before: str = ""
    after: str = ""


class Questions:
    """The prompts of a run and their answers, kept in the run folder."""

    def __init__(self, folder: Path, data: TrainingData, tokenizer: Any, *, count: int, max_tokens: int) -> None:
        """Take the prompts of some held-out examples; nothing is answered yet."""
        self.path = folder / FILE_NAME
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        fitting = [item for item in data.held_out if 0 < len(_prompt(item)) <= LONGEST_PROMPT][:count]
        self.prompts = [_prompt(example) for example in fitting]
        self.answered = [
            Answered(
                data.questions.get(example.place) or self._text(_prompt(example)),
                self._text(_expected(example)).strip(),
            )
            for example in fitting
        ]

    def begin(self, *, continued: bool) -> None:
        """Take up the answers of a run that goes on; forget those of anything else that was begun in the folder."""
        if not continued:
            self.path.unlink(missing_ok=True)
            return
        earlier = read_answers(self.path.parent)
        if [item.prompt for item in earlier] == [item.prompt for item in self.answered]:
            self.answered = earlier

    def ask(self, model: LanguageModel, *, moment: str) -> Iterator[Event]:
        """Let the model answer, "before" with the bare base and "after" with what was learned.

        No generator is moved. A base that itself learns can only be asked before it did.
        """
        asked_before = moment == "before" and any(item.before for item in self.answered)
        if not self.prompts or asked_before:
            return
        random, training = take_state(), model.net.training
        set_exact(model.net.eval(), False)
        if moment == "before" and lora_layers(model.net):
            with base_only(model.net):
                texts = self._answers(model)
        else:
            texts = self._answers(model)
        set_exact(model.net.train(training), True)
        put_state(random)
        self.answered = [
            Answered(**{**asdict(item), moment: text}) for item, text in zip(self.answered, texts, strict=True)
        ]
        write_bytes(self.path, json.dumps([asdict(item) for item in self.answered], indent=1).encode())
        yield Progress(f"asking {moment}", len(texts), len(texts), "held-out prompts")

    def _answers(self, model: LanguageModel) -> list[str]:
        return greedy_answers(model.net, self.tokenizer, self.prompts, max_tokens=self.max_tokens)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


def read_answers(folder: Path) -> list[Answered]:
    """Read the answers of a run; none where there are none, or where their file is damaged."""
    try:
        items = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        return [Answered(**{key: str(text) for key, text in item.items()}) for item in items]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return []


def _prompt(example: Example) -> list[int]:
    """Give what comes before the first token that is learned."""
    if example.target_ids is not None:
        return example.input_ids
    return example.input_ids[: _first_learned(example)]


def _expected(example: Example) -> list[int]:
    if example.target_ids is not None:
        return example.target_ids
    begin = _first_learned(example)
    run = next((i for i in range(begin, len(example.trained)) if not example.trained[i]), len(example.trained))
    return example.input_ids[begin:run]


def _first_learned(example: Example) -> int:
    return next((index for index, trained in enumerate(example.trained) if trained), 0)
