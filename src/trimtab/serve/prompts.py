"""From what a client wrote to the token ids that the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from jinja2 import TemplateError

from trimtab.models.decoder import check_tokens
from trimtab.serve.api_error import ApiError
from trimtab.serve.messages import Message
from trimtab.text.chat_format import FALLBACK_TEMPLATE, beginning, chat_template, write_messages

ROLES: Final = {"developer": "system"}


class Prompts:
    """Writes prompts as training does; for one thread at a time.

    Attributes:
        window: most tokens of a prompt and its answer; None where there is no limit.
    """

    def __init__(self, tokenizer: Any, *, vocabulary: int, window: int | None) -> None:
        """Take the tokenizer of a model.

        Args:
            tokenizer: of transformers.
            vocabulary: number of tokens of the network.
            window: most tokens that it can hold.
        """
        self._tokenizer, self._vocabulary, self.window = tokenizer, vocabulary, window
        self._template = chat_template(tokenizer)
        self._beginning = beginning(tokenizer)

    def of_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Write a conversation, ready for the assistant to speak.

        Raises:
            ApiError: 400, the template refuses these roles, or the window is too small.
        """
        turns = [{"role": ROLES.get(message.role, message.role), "content": message.text} for message in messages]
        try:
            text = write_messages(turns, self._tokenizer, self._template or FALLBACK_TEMPLATE, generate=True)
        except TemplateError as error:
            roles = ", ".join(turn["role"] for turn in turns[:8])
            problem = (str(error).splitlines() or [type(error).__name__])[0]
            message = f"the model's chat template refuses the roles {roles} ({problem:.200}). Use other roles."
            raise ApiError(400, message, param="messages", code="invalid_roles") from error
        return self._checked([*(() if self._template else self._beginning), *self._ids(text)], "messages")

    def of_text(self, text: str) -> tuple[int, ...]:
        """Write a bare text, begun as the tokenizer begins texts.

        Raises:
            ApiError: 400, the window is too small.
        """
        return self._checked([*self._beginning, *self._ids(text)], "prompt")

    def of_tokens(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """Take token ids as they are.

        Raises:
            ApiError: 400, the window is too small.
            RangeError: an id is no token.
        """
        check_tokens(tokens, self._vocabulary)
        return self._checked(tokens, "prompt")

    def room(self, prompt: Sequence[int]) -> int | None:
        """Count the tokens that an answer may have; None where there is no limit."""
        return None if self.window is None else self.window - len(prompt) + 1

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return ids

    def _checked(self, ids: Sequence[int], param: str) -> tuple[int, ...]:
        if not ids:
            raise ApiError(400, f"{param}: no tokens. Give at least one.", param=param, code="invalid_value")
        if self.window is not None and len(ids) > self.window:
            message = f"{param}: {len(ids)} tokens, allowed are {self.window}, the model's window. Send less."
            raise ApiError(400, message, param=param, code="context_length_exceeded")
        return tuple(ids)
