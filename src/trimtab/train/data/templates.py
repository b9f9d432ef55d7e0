"""Writes a conversation as the model's own template does and finds, for any template, which characters are learnt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import TemplateError

from trimtab.text.chat_format import FALLBACK_TEMPLATE, chat_template, write_messages
from trimtab.train.data.rows import BadRow, Conversation, Turn
from trimtab.train.data.settings import LossOn, Tokenizer

_OTHER_WORDS = ("\u25c6", "\u25c7")

_SPACE = re.compile(r"\s*")
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
    template = chat_template(tokenizer)
    if conversation.prompt and not template:
        text = conversation.prompt + conversation.turns[-1].content
        return Rendered(text, (Span(len(conversation.prompt), len(text), len(text)),), bare=True)
    return _templated(conversation.turns, tokenizer, template, loss_on=loss_on)


def prompt_text(turns: Sequence[Turn], tokenizer: Tokenizer) -> str:
    """Write turns up to where the assistant would begin to speak, by the model's own template or the fallback."""
    return _draw(turns, tokenizer, chat_template(tokenizer) or FALLBACK_TEMPLATE, generate=True)


def _templated(turns: Sequence[Turn], tokenizer: Tokenizer, own: str | None, *, loss_on: LossOn) -> Rendered:
    template = own or FALLBACK_TEMPLATE
    full = _draw(turns, tokenizer, template)
    if loss_on == "all":
        return Rendered(full, (Span(0, len(full), len(full)),), bare=own is None)
    spoken = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    wanted = spoken[-1:] if loss_on == "last" else spoken
    spans = tuple(_span(turns, index, full, tokenizer, template) for index in wanted)
    return Rendered(full, spans, bare=own is None)


def _span(turns: Sequence[Turn], index: int, full: str, tokenizer: Tokenizer, template: str) -> Span:
    """Find one turn by comparing the whole text with those of the turns before it, up to it, and with other words."""
    content = turns[index].content.strip()
    after = full if index == len(turns) - 1 else _draw(turns[: index + 1], tokenizer, template)
    shared = _shared(after, full)
    begins = _words_begin(turns[:index], content, full, tokenizer, template)
    said = _said_at(full, begins) + len(content)
    if not full.startswith(content, said - len(content)) or said > shared:
        raise _rewritten(index)
    start = _generation_begins(turns[:index], begins, full, tokenizer, template)
    mark = _END_OF_TURN.match(full, said, shared)
    return Span(start, said, mark.end() if mark else said)


def _said_at(full: str, begins: int) -> int:
    """Pass over the white space that a turn begins with, where the template leaves it in."""
    space = _SPACE.match(full, begins)
    return space.end() if space else begins


def _words_begin(before: Sequence[Turn], content: str, full: str, tokenizer: Tokenizer, template: str) -> int:
    """Find where a turn's words begin: where the text first differs from one in which the turn says something else.

    Looking for the words themselves would find them in a header or in a template's own system turn as well.
    """
    other = next(sign for sign in _OTHER_WORDS if sign != content[0])
    return _shared(_draw([*before, Turn("assistant", other)], tokenizer, template), full)


def _generation_begins(before: Sequence[Turn], begins: int, full: str, tokenizer: Tokenizer, template: str) -> int:
    """Give the end of the text from which the model is to generate the turn whose words begin there.

    A generation prompt may hold more than is written later ("<think>"): then it is followed as far as both agree.
    """
    if not before:
        return begins
    prompt = _draw(before, tokenizer, template, generate=True)
    return min(begins, _shared(prompt, full))


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


def _draw(turns: Sequence[Turn], tokenizer: Tokenizer, template: str, *, generate: bool = False) -> str:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        return write_messages(messages, tokenizer, template, generate=generate)
    except TemplateError as error:
        roles = ", ".join(turn.role for turn in turns)
        raise BadRow("messages", f"the model's chat template refuses the roles {roles}: {error}") from None
