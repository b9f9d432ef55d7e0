"""Conversations as text: the model's own chat template, or one wording for all models without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from jinja2 import TemplateRuntimeError

Tokenizer: TypeAlias = Any
"""A tokenizer of transformers, of any backend."""

FALLBACK_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '### Human: ' + message['content'] + '\n' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '### Assistant: ' + message['content'] + (eos_token or '') + '\n' }}"
    "{% else %}{{ message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Assistant:' }}{% endif %}"
)
"""For a tokenizer without a chat template: the wording of the Guanaco conversations, each answer ended by EOS."""

_FIXED_DAY: Final = (
    "{% macro strftime_now(format) %}"
    "{{ {'%d %b %Y': '26 Jul 2024', '%B %d, %Y': 'July 26, 2024'}.get(format, '2024-07-26') }}"
    "{% endmacro %}"
)
"""Put before a template that writes today's date, so that the same rows are the same tokens tomorrow."""


def chat_template(tokenizer: Tokenizer) -> str | None:
    """Give the tokenizer's own chat template, or None where it has none; the day that it may write is a fixed one."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    template = str(tokenizer.get_chat_template())
    return _FIXED_DAY + template if "strftime_now" in template else template


def write_messages(
    messages: Sequence[Mapping[str, str]], tokenizer: Tokenizer, template: str, *, generate: bool = False
) -> str:
    """Write messages by a template, in transformers' sandbox.

    Args:
        messages: each with "role" and "content".
        tokenizer: gives the special tokens.
        template: Jinja, as of ``chat_template`` or ``FALLBACK_TEMPLATE``.
        generate: end where the assistant would begin to speak.

    Raises:
        jinja2.TemplateError: the template refuses these roles, fails, or tries what the sandbox bars.
    """
    return str(_applied(messages, tokenizer, template, tokenize=False, add_generation_prompt=generate))


def message_tokens(messages: Sequence[Mapping[str, str]], tokenizer: Tokenizer, template: str) -> list[int]:
    """Write messages up to where the assistant would begin to speak, as token ids.

    Only the template itself writes special tokens; in what was said they are plain letters.

    Args:
        messages: each with "role" and "content".
        tokenizer: of transformers.
        template: Jinja, as of ``chat_template`` or ``FALLBACK_TEMPLATE``.

    Raises:
        jinja2.TemplateError: as ``write_messages``, or the tokenizer makes a special token even of plain letters.
    """
    options = {"tokenize": True, "return_dict": False, "sanitize_control_tokens": True}
    return list(_applied(messages, tokenizer, template, add_generation_prompt=True, **options))


def beginning(tokenizer: Tokenizer) -> list[int]:
    """Give the ids (BOS, as a rule) that a tokenizer itself puts before a bare text; none where it puts none."""
    return around(tokenizer)[0]


def around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Give the ids that a tokenizer itself puts before and behind a bare text."""
    bare = list(tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"])
    whole = list(tokenizer("a", add_special_tokens=True, verbose=False)["input_ids"])
    at = next((n for n in range(len(whole) - len(bare) + 1) if whole[n : n + len(bare)] == bare), None)
    return ([], []) if at is None else (whole[:at], whole[at + len(bare) :])


def _applied(messages: Sequence[Mapping[str, str]], tokenizer: Tokenizer, template: str, **options: Any) -> Any:
    given = [dict(message) for message in messages]
    try:
        return tokenizer.apply_chat_template(given, chat_template=template, **options)
    except (ArithmeticError, ValueError, TypeError, RecursionError) as error:
        raise TemplateRuntimeError((str(error).splitlines() or [type(error).__name__])[0]) from error
