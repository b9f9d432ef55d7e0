"""Text from tokens as they come: never half a character, never other text than decoding all of them at once."""

from __future__ import annotations

import re
from typing import Any, Final

INCOMPLETE: Final = "\N{REPLACEMENT CHARACTER}"
BYTE_TOKEN: Final = re.compile(r"<0x[0-9A-Fa-f]{2}>")
# A UTF-8 character has at most 4 bytes and a token at least 1: further back nothing can still change.
CONTEXT: Final = 8


class Detokenizer:
    """Decodes one answer token by token, in time that grows with its length only.

    Only the last few tokens are decoded each time, behind a border where a character had ended; what the decoder
    of the tokenizer does there (such as dropping a leading space) it does with and without the new token alike.
    Tokens that stand for single bytes are decoded when their run has ended, since one wrong byte spoils them all.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Begin an answer.

        Args:
            tokenizer: of transformers; its special tokens have no text.
        """
        self._tokenizer = tokenizer
        self._special = special_tokens(tokenizer)
        self._recent: list[int] = []
        self._border = 0  # before this one of the recent tokens a character had ended
        self._shown = ""  # of the text of the recent tokens

    def push(self, token: int) -> str:
        """Take a token; give the text that has become certain."""
        if token in self._special:
            return ""
        self._recent.append(token)
        return "" if self._is_byte(token) else self._advance()

    def finish(self) -> str:
        """Give the rest of the text, once no more tokens come."""
        return self._decode()[len(self._shown) :]

    def _advance(self) -> str:
        text = self._decode()
        certain = text.removesuffix(INCOMPLETE)
        piece = certain[len(self._shown) :]
        self._shown += piece
        if certain == text:
            self._forget(self._border)
        elif len(self._recent) - self._border > CONTEXT:
            self._forget(len(self._recent) - CONTEXT)
        return piece

    def _forget(self, count: int) -> None:
        """Drop old tokens; those that stay are the context of what comes."""
        del self._recent[:count]
        self._border = len(self._recent)
        self._shown = self._decode().removesuffix(INCOMPLETE)

    def _decode(self) -> str:
        text: str = self._tokenizer.decode(self._recent, clean_up_tokenization_spaces=False)
        return text

    def _is_byte(self, token: int) -> bool:
        return BYTE_TOKEN.fullmatch(str(self._tokenizer.convert_ids_to_tokens(token))) is not None


def special_tokens(tokenizer: Any) -> frozenset[int]:
    """Give the ids that ``decode(skip_special_tokens=True)`` leaves out."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return frozenset(tokenizer.all_special_ids) | {index for index, token in added.items() if token.special}
