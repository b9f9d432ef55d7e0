"""Tokens as text and bytes, one by one, for those who ask for log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final

from trimtab.serve.replies import ChatLogprob, CompletionLogprobs, TopLogprob
from trimtab.text.engine import TokenLogprob
from trimtab.text.engine.detokenize import BYTE_TOKEN, INCOMPLETE

LEAST_LOGPROB: Final = -9999.0  # OpenAI's own stand-in for minus infinity, which JSON cannot write
REMEMBERED: Final = 1 << 16


class TokenTexts:
    """Spells single tokens of one tokenizer; for one thread at a time."""

    def __init__(self, tokenizer: Any) -> None:
        """Take a tokenizer of transformers."""
        self._tokenizer = tokenizer
        self._anchor: list[int] = list(tokenizer("a", add_special_tokens=False).input_ids)
        self._anchor_text = self._decode(self._anchor)
        self.of = lru_cache(REMEMBERED)(self._spell)

    def for_chat(self, logprobs: Sequence[TokenLogprob]) -> list[ChatLogprob]:
        """Write log-probabilities as the chat interface has them."""
        entries = []
        for logprob in logprobs:
            top = [self._top(token, value) for token, value in logprob.alternatives]
            chosen = self._top(logprob.token, logprob.logprob)
            entries.append(ChatLogprob(**chosen.model_dump(), top_logprobs=top))
        return entries

    def for_completion(self, logprobs: Sequence[TokenLogprob], *, offset: int) -> CompletionLogprobs:
        """Write log-probabilities as the older interface has them.

        Args:
            logprobs: of some tokens of an answer.
            offset: characters of the tokens before.
        """
        texts = [self.of(logprob.token)[0] for logprob in logprobs]
        ends = list(accumulate(map(len, texts), initial=offset))
        return CompletionLogprobs(
            tokens=texts,
            token_logprobs=[_finite(logprob.logprob) for logprob in logprobs],
            top_logprobs=[{self.of(t)[0]: _finite(v) for t, v in logprob.alternatives} for logprob in logprobs],
            text_offset=ends[:-1],
        )

    def _top(self, token: int, logprob: float) -> TopLogprob:
        text, content = self.of(token)
        return TopLogprob(token=text, logprob=_finite(logprob), bytes=content)

    def _spell(self, token: int) -> tuple[str, list[int] | None]:
        """Give the text of a token as it stands inside an answer, and its bytes; None where they are unknown."""
        text = self._decode([*self._anchor, token]).removeprefix(self._anchor_text)
        if INCOMPLETE not in text:
            return text, list(text.encode("utf-8"))
        piece = str(self._tokenizer.convert_ids_to_tokens(token))
        content = bytes([int(piece[3:5], 16)]) if BYTE_TOKEN.fullmatch(piece) else _byte_level(piece)
        if content is None:
            return text, None
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content), list(content)

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
        return text


def _byte_level(piece: str) -> bytes | None:
    """Undo the alphabet in which byte-level tokenizers write bytes; None where this is no such text."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = {letter: byte for byte, letter in bytes_to_unicode().items()}
    return bytes(letters[letter] for letter in piece) if all(letter in letters for letter in piece) else None


def _finite(logprob: float) -> float:
    return max(logprob, LEAST_LOGPROB)
