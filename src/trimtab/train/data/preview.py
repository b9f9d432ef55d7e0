"""Shows what an example looks like to the model, and which part of it is learnt."""

from __future__ import annotations

from itertools import groupby

from trimtab.train.data.encode import Example
from trimtab.train.data.settings import Tokenizer


def preview(example: Example, tokenizer: Tokenizer) -> list[tuple[str, bool]]:
    """Give an example as pieces of text, special tokens visible, each with whether it is learnt.

    For an encoder-decoder network the last piece is what the decoder learns to write.
    """
    pieces = []
    at = 0
    for trained, run in groupby(example.trained):
        size = len(list(run))
        pieces.append((_text(example.input_ids[at : at + size], tokenizer), trained))
        at += size
    if example.target_ids is not None:
        pieces.append((_text(example.target_ids, tokenizer), True))
    return pieces


def _text(ids: list[int], tokenizer: Tokenizer) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
