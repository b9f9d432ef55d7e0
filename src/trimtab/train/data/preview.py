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
    at, before = 0, ""
    for trained, run in groupby(example.trained):
        start, at = at, at + len(list(run))
        # Decoded alone, a piece would lose the space that its first token carries in many tokenizers.
        so_far = _text(example.input_ids[:at], tokenizer)
        whole = so_far.startswith(before)
        pieces.append((so_far[len(before) :] if whole else _text(example.input_ids[start:at], tokenizer), trained))
        before = so_far
    if example.target_ids is not None:
        pieces.append((_text(example.target_ids, tokenizer), True))
    return pieces


def _text(ids: list[int], tokenizer: Tokenizer) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
