"""From what was said to the token ids that a model reads, worded as training worded it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from jinja2 import TemplateError

from trimtab.core.errors import RangeError
from trimtab.text.chat_format import FALLBACK_TEMPLATE, Tokenizer, around, chat_template, message_tokens

NAMED_ROLES: Final = 8


class PromptWriter:
    """Writes prompts for one model; for one thread at a time, in which nobody else uses the tokenizer."""

    def __init__(self, tokenizer: Tokenizer, *, encoder: bool = False, place: str = "the model") -> None:
        """Take the tokenizer of a model.

        Args:
            tokenizer: of transformers.
            encoder: whether an encoder reads the prompt: it is then ended as the tokenizer ends texts.
            place: how errors call the model.
        """
        self._tokenizer, self._place = tokenizer, place
        self._template = chat_template(tokenizer)
        self._before, after = around(tokenizer)
        self._after = after if encoder else []

    def chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """Write a conversation, ready for its answer: in the model's own format where it has one.

        Special tokens that stand in what was said are read as the letters that they consist of.

        Args:
            messages: each with "role" and "content".

        Raises:
            RangeError: the template refuses these roles, or the tokenizer can write a message in no safe way.
        """
        template = self._template or FALLBACK_TEMPLATE
        try:
            ids = message_tokens(messages, self._tokenizer, template)
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages[:NAMED_ROLES])
            problem = (str(error).splitlines() or [type(error).__name__])[0]
            raise RangeError(
                f"{self._place}: the chat template refuses the roles {roles} ({problem:.200}). "
                "Use other roles or other words."
            ) from error
        return tuple(ids) if self._template else (*self._before, *ids, *self._after)

    def text(self, text: str) -> tuple[int, ...]:
        """Write a bare text, begun as the tokenizer begins texts; none for an empty one."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return (*self._before, *ids, *self._after) if ids else ()
