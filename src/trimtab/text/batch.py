"""Greedy answers to several prompts at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn


@torch.no_grad()
def greedy_answers(net: nn.Module, tokenizer: Any, prompts: Sequence[Sequence[int]], *, max_tokens: int) -> list[str]:
    """Continue prompts with the likeliest tokens.

    Args:
        net: in evaluation mode; causal or encoder-decoder.
        tokenizer: for the end mark and the text.
        prompts: token ids, each at least one.
        max_tokens: most tokens an answer.

    Returns:
        One text a prompt, special tokens left out.
    """
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)
    ids, mask = _left_padded(prompts, int(pad))
    device = next(net.parameters()).device
    model = cast(Any, net)
    written = model.generate(
        ids.to(device),
        attention_mask=mask.to(device),
        max_new_tokens=max_tokens,
        do_sample=False,
        pad_token_id=pad,
        temperature=None,
        top_p=None,
        top_k=None,
    )
    begin = 0 if model.config.is_encoder_decoder else ids.shape[1]
    return [str(tokenizer.decode(row[begin:], skip_special_tokens=True)).strip() for row in written]


def _left_padded(prompts: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask
