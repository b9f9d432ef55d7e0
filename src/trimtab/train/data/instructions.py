"""Rows that hold one request and its answer, and rows of running text."""

from __future__ import annotations

from trimtab.train.data.dialogues import turns_from, with_assistant
from trimtab.train.data.fields import Row, checked_text, objects, optional_text, present, text_at
from trimtab.train.data.rows import BadRow, Conversation, Turn

ALPACA_INTRODUCTION = (
    "Below is an instruction that describes a task{paired}. "
    "Write a response that appropriately completes the request.\n\n"
)
_PAIRED = ", paired with an input that provides further context"


def alpaca_prompt(instruction: str, given: str = "") -> str:
    """Word an instruction as the Alpaca models read it, up to the place where the answer begins.

    Source: the prompt published with Stanford Alpaca (tatsu-lab/stanford_alpaca, README).
    """
    head = ALPACA_INTRODUCTION.format(paired=_PAIRED if given else "")
    middle = f"### Input:\n{given}\n\n" if given else ""
    return f"{head}### Instruction:\n{instruction}\n\n{middle}### Response:\n"


def alpaca(row: Row, place: str) -> list[Conversation]:
    """Read ``{"instruction", "input", "output"}``; "input" may be empty or absent."""
    return [_instructed(text_at(row, "instruction"), optional_text(row, "input"), text_at(row, "output"), place)]


def dolly(row: Row, place: str) -> list[Conversation]:
    """Read ``{"instruction", "context", "response"}``; "context" may be empty or absent."""
    return [_instructed(text_at(row, "instruction"), optional_text(row, "context"), text_at(row, "response"), place)]


def _instructed(instruction: str, given: str, output: str, place: str) -> Conversation:
    request = f"{instruction}\n\n{given}" if given.strip() else instruction
    return exchange(request, output, place=place, prompt=alpaca_prompt(instruction, given if given.strip() else ""))


def exchange(request: str, answer: str, *, place: str, prompt: str = "") -> Conversation:
    """Make a conversation of one request and one answer."""
    return Conversation((Turn("user", request), Turn("assistant", answer)), place, prompt or request)


def self_instruct(row: Row, place: str) -> list[Conversation]:
    """Read ``{"instruction", "instances": [{"input", "output"}, ...]}``: one conversation an instance."""
    instruction = text_at(row, "instruction")
    return [
        _instructed(instruction, given, output, place)
        for given, output in (_instance(entry, index) for index, entry in _instances(row))
    ]


def unnatural(row: Row, place: str) -> list[Conversation]:
    """Read Unnatural Instructions: each instance carries its whole wording in "instruction_with_input"."""
    text_at(row, "instruction")
    conversations = []
    for index, entry in _instances(row):
        here = f"instances[{index}].instruction_with_input"
        request = checked_text(entry.get("instruction_with_input"), here)
        conversations.append(exchange(request, _instance(entry, index)[1], place=place))
    return conversations


def _instances(row: Row) -> enumerate[Row]:
    return enumerate(objects(present(row, "instances"), "instances"))


def _instance(entry: Row, index: int) -> tuple[str, str]:
    here = f"instances[{index}]"
    if "output" not in entry:
        raise BadRow(f"{here}.output", "missing; every instance needs an output")
    given = entry.get("input")
    return (
        "" if given is None else checked_text(given, f"{here}.input", may_be_empty=True),
        checked_text(entry["output"], f"{here}.output"),
    )


def completion(row: Row, place: str) -> list[Conversation]:
    """Read ``{"prompt", "completion"}``: two texts, or two lists of messages."""
    if isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        turns = turns_from([*row["prompt"], *row["completion"]], "prompt + completion", names=("role", "content"))
        return [Conversation(with_assistant(turns, "completion"), place)]
    return [exchange(text_at(row, "prompt"), text_at(row, "completion"), place=place)]


def longform(row: Row, place: str) -> list[Conversation]:
    """Read ``{"input", "output"}`` as LongForm has them."""
    return [exchange(text_at(row, "input"), text_at(row, "output"), place=place)]


def flan(row: Row, place: str) -> list[Conversation]:
    """Read ``{"inputs", "targets"}`` as FLAN v2 has them."""
    return [exchange(text_at(row, "inputs"), text_at(row, "targets"), place=place)]


def plain_text(row: Row, place: str) -> list[Conversation]:
    """Read ``{"text"}``: running text."""
    return [Conversation((), place, text=text_at(row, "text"))]
