"""From text with learnt characters to tokens with learnt tokens, for tokenizers with and without offsets."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.text.chat_format import beginning
from trimtab.train.data.settings import Tokenizer
from trimtab.train.data.templates import Rendered, Span


def tokenize(rendered: Rendered, tokenizer: Tokenizer) -> tuple[list[int], list[bool]]:
    """Give token ids and which of them are learnt.

    A token that begins before a span and ends in it belongs to the span: at generation time it would be the
    model's to write. BOS is never learnt, EOS always is.
    """
    if getattr(tokenizer, "is_fast", False):
        encoded = tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids = list(encoded["input_ids"])
        trained = _by_offsets(encoded["offset_mapping"], rendered.spans)
    else:
        ids = _ids(tokenizer, rendered.text)
        trained = _by_prefixes(ids, rendered, tokenizer)
    if not rendered.bare:
        return ids, trained
    opening, closing = surroundings(tokenizer)
    ends_learnt = bool(rendered.spans) and rendered.spans[-1].end >= len(rendered.text)
    closing = closing if ends_learnt else []
    return opening + ids + closing, [False] * len(opening) + trained + [True] * len(closing)


def surroundings(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Give what stands around a bare text: what the tokenizer itself puts before it, and EOS where there is one."""
    end = tokenizer.eos_token_id
    return beginning(tokenizer), [] if end is None else [int(end)]


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _by_offsets(offsets: Sequence[tuple[int, int]], spans: Sequence[Span]) -> list[bool]:
    trained = [False] * len(offsets)
    at = 0
    for span in spans:
        while at < len(offsets) and offsets[at][1] <= span.start and offsets[at] != (span.start, span.start):
            at += 1
        while at < len(offsets) and offsets[at][0] < span.end:
            # A token that starts in the end-of-turn mark and runs past it is the next turn's header.
            trained[at] = offsets[at][1] <= span.end or offsets[at][0] < span.said
            at += 1
    return trained


def _by_prefixes(ids: Sequence[int], rendered: Rendered, tokenizer: Tokenizer) -> list[bool]:
    """Find where spans begin and end from how far the tokens of the text before agree with those of the whole."""
    trained = [False] * len(ids)
    for span in rendered.spans:
        first, _ = _agreement(ids, _ids(tokenizer, rendered.text[: span.start]))
        agreed, size = _agreement(ids, _ids(tokenizer, rendered.text[: span.end]))
        last = agreed if agreed == size else agreed + 1
        trained[first:last] = [True] * (last - first)
    return trained


def _agreement(whole: Sequence[int], part: Sequence[int]) -> tuple[int, int]:
    agreed = 0
    while agreed < min(len(whole), len(part)) and whole[agreed] == part[agreed]:
        agreed += 1
    return agreed, len(part)
