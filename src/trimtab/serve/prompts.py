"""From what a client wrote to the token ids that the model reads."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final

from trimtab.core.errors import RangeError
from trimtab.models.decoder import check_tokens
from trimtab.serve.api_error import ApiError
from trimtab.serve.messages import Message
from trimtab.text.prompts import PromptWriter

ROLES: Final = {"developer": "system"}


class Prompts:
    """Writes prompts as training does; for one thread at a time.

    Attributes:
        window: most tokens of a prompt and its answer; None where there is no limit.
    """

    def __init__(self, tokenizer: Any, *, vocabulary: int, window: int | None) -> None:
        """Take the tokenizer of a model.

        Args:
            tokenizer: of transformers; copied, since writing switches settings of it while others read with theirs.
            vocabulary: number of tokens of the network.
            window: most tokens that it can hold.
        """
        self._writer = PromptWriter(copy.deepcopy(tokenizer))
        self._vocabulary, self.window = vocabulary, window

    def of_chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Write a conversation, ready for the assistant to speak.

        Raises:
            ApiError: 400, the template refuses these roles, or the window is too small.
        """
        turns = [{"role": ROLES.get(message.role, message.role), "content": message.text} for message in messages]
        try:
            ids = self._writer.chat(turns)
        except RangeError as error:
            raise ApiError(400, str(error), param="messages", code="invalid_roles") from error
        return self._checked(ids, "messages")

    def of_text(self, text: str) -> tuple[int, ...]:
        """Write a bare text, begun as the tokenizer begins texts.

        Raises:
            ApiError: 400, the window is too small.
        """
        return self._checked(self._writer.text(text), "prompt")

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

    def _checked(self, ids: Sequence[int], param: str) -> tuple[int, ...]:
        if not ids:
            raise ApiError(400, f"{param}: no tokens. Give at least one.", param=param, code="invalid_value")
        if self.window is not None and len(ids) > self.window:
            message = f"{param}: {len(ids)} tokens, allowed are {self.window}, the model's window. Send less."
            raise ApiError(400, message, param=param, code="context_length_exceeded")
        return tuple(ids)
