"""Writes a conversation as the model's own template does and finds, for any template, which characters are learnt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import TemplateError

from trimtab.train.data.rows import BadRow, Conversation, Turn
from trimtab.train.data.settings import LossOn, Tokenizer

FALLBACK_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '### Human: ' + message['content'] + '\n' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '### Assistant: ' + message['content'] + (eos_token or '') + '\n' }}"
    "{% else %}{{ message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Assistant:' }}{% endif %}"
)
"""For a tokenizer without a chat template: the wording of the Guanaco conversations, each answer ended by EOS."""

DAY = datetime(2024, 7, 26)
"""What a template that writes today's date is told, so that the same rows are the same tokens tomorrow."""

_END_OF_TURN = re.compile(r"\s*\S+|\s+")


@dataclass(frozen=True, slots=True)
class Span:
    """Characters of an assistant turn: what the model writes, from the end of its header to its end-of-turn token.

    Attributes:
        start: where generation would begin.
        said: where the words end and the end-of-turn mark begins.
        end: behind that mark.
    """

    start: int
    said: int
    end: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as one text.

    Attributes:
        text: what is tokenized.
        spans: the learnt parts, in order.
        bare: the text holds no special tokens; BOS and EOS are put around it where the tokenizer has them.
    """

    text: str
    spans: tuple[Span, ...]
    bare: bool


def chat_template(tokenizer: Tokenizer) -> str | None:
    """Give the tokenizer's own chat template, or None where it has none."""
    return getattr(tokenizer, "chat_template", None) or None


def render(conversation: Conversation, tokenizer: Tokenizer, *, loss_on: LossOn = "targets") -> Rendered:
    """Write a conversation as text and find the spans that are learnt.

    Running text is learnt whole. With a chat template of its own the model sees that; without one it sees the
    conversation's own wording (Alpaca's, a bare prompt), and else ``FALLBACK_TEMPLATE``.

    Raises:
        BadRow: the template refuses the conversation, or rewrites its earlier turns so that no mask is right.
    """
    if conversation.text:
        size = len(conversation.text)
        return Rendered(conversation.text, (Span(0, size, size),), bare=True)
    if chat_template(tokenizer):
        return _templated(conversation.turns, tokenizer, None, loss_on=loss_on)
    if conversation.prompt:
        text = conversation.prompt + conversation.turns[-1].content
        return Rendered(text, (Span(len(conversation.prompt), len(text), len(text)),), bare=True)
    return _templated(conversation.turns, tokenizer, FALLBACK_TEMPLATE, loss_on=loss_on)


def prompt_text(turns: Sequence[Turn], tokenizer: Tokenizer) -> str:
    """Write turns up to where the assistant would begin to speak, by the model's own template or the fallback."""
    return _draw(turns, tokenizer, None if chat_template(tokenizer) else FALLBACK_TEMPLATE, generate=True)


def _templated(turns: Sequence[Turn], tokenizer: Tokenizer, template: str | None, *, loss_on: LossOn) -> Rendered:
    full = _draw(turns, tokenizer, template)
    spoken = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    wanted = spoken[-1:] if loss_on == "last" else spoken
    if loss_on == "all":
        return Rendered(full, (Span(0, len(full), len(full)),), bare=template is not None)
    spans = tuple(_span(turns, index, full, tokenizer, template) for index in wanted)
    return Rendered(full, spans, bare=template is not None)


def _span(turns: Sequence[Turn], index: int, full: str, tokenizer: Tokenizer, template: str | None) -> Span:
    """Find one turn by comparing the whole text with the texts of the turns before it and up to it."""
    content = turns[index].content.strip()
    after = full if index == len(turns) - 1 else _draw(turns[: index + 1], tokenizer, template)
    shared = _shared(after, full)
    start, said = _start(turns[:index], content, full, tokenizer, template)
    if said < 0 or said + len(content) > shared:
        raise _rewritten(index)
    said += len(content)
    mark = _END_OF_TURN.match(full, said, shared)
    return Span(start, said, mark.end() if mark else said)


def _start(
    before: Sequence[Turn], content: str, full: str, tokenizer: Tokenizer, template: str | None
) -> tuple[int, int]:
    """Give where generation begins and where the words begin (-1 where they are not found)."""
    if not before:
        found = full.find(content)
        return found, found
    prompt = _draw(before, tokenizer, template, generate=True)
    if full.startswith(prompt):
        return len(prompt), full.find(content, len(prompt))
    plain = _draw(before, tokenizer, template)
    if not full.startswith(plain):
        return -1, -1
    header = _shared(prompt, full)  # the generation prompt adds something that is not written later, as "<think>"
    found = full.find(content, max(len(plain), header - len(content)))
    return min(header, found), found


def _shared(first: str, second: str) -> int:
    """Count the characters at the start that two texts have in common."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle - 1)
    return low


def _rewritten(index: int) -> BadRow:
    found = "the chat template rewrites this turn once others follow it, so which tokens it would learn is not certain"
    return BadRow(f"messages[{index}]", f'{found}; use loss_on = "last", or split the conversation after this turn')


def _draw(turns: Sequence[Turn], tokenizer: Tokenizer, template: str | None, *, generate: bool = False) -> str:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    options: dict[str, Any] = {"strftime_now": DAY.strftime, "add_generation_prompt": generate}
    if template:
        options["chat_template"] = template
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    except TemplateError as error:
        roles = ", ".join(turn.role for turn in turns)
        raise BadRow("messages", f"the model's chat template refuses the roles {roles}: {error}") from None
    return str(text)
