"""A tokenizer on both its ways: prompts into tokens, tokens into text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trimtab.models.decoder import Decoder
from trimtab.serve.prompts import Prompts
from trimtab.serve.token_texts import TokenTexts


@dataclass(frozen=True)
class Speech:
    """What a service needs of a tokenizer.

    Attributes:
        prompts: writes prompts.
        texts: spells single tokens.
    """

    prompts: Prompts
    texts: TokenTexts

    @classmethod
    def of(cls, tokenizer: Any, decoder: Decoder) -> Speech:
        """Take the tokenizer of a model."""
        prompts = Prompts(tokenizer, vocabulary=decoder.vocabulary, window=decoder.window)
        return cls(prompts, TokenTexts(tokenizer))
