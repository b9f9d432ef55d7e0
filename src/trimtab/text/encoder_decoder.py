"""Answers of encoder-decoder models, one at a time, through transformers' own generation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from trimtab.nn.lora import activate
from trimtab.text.engine import Event, Finished, Piece, Request, Sampling, Usage


class EncoderDecoder:
    """A network that reads the whole prompt first and then writes."""

    def __init__(self, net: nn.Module, tokenizer: Any) -> None:
        """Take a loaded network."""
        self.net, self.tokenizer = net.eval(), tokenizer

    def generate(self, request: Request) -> Iterator[Event]:
        """Yield the answer piece by piece, then its end; stop texts and constraints are not known here."""
        from transformers import TextIteratorStreamer

        streamer = TextIteratorStreamer(self.tokenizer, skip_special_tokens=True)
        written: list[torch.Tensor] = []
        failures: list[BaseException] = []

        def work() -> None:
            try:
                written.append(self._write(request, streamer)[0])
            except Exception as error:  # noqa: BLE001 - handed to the reading thread below
                failures.append(error)
                streamer.end()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        for text in streamer:
            yield Piece(text, ())
        thread.join()
        if failures:
            raise failures[0]
        tokens = int(written[0].numel()) - 1  # the first one only starts the decoder
        reason = "length" if tokens >= request.sampling.max_tokens else "stop"
        yield Finished(cast(Any, reason), Usage(len(request.prompt), 0, tokens))

    @torch.no_grad()
    def _write(self, request: Request, streamer: Any) -> torch.Tensor:
        sampling: Sampling = request.sampling
        activate(self.net, request.adapter)
        torch.manual_seed(sampling.seed)
        ids = torch.tensor([request.prompt], device=next(self.net.parameters()).device)
        draws = sampling.temperature > 0
        chosen = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        return cast(
            torch.Tensor,
            cast(Any, self.net).generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=sampling.max_tokens,
                do_sample=draws,
                streamer=streamer,
                pad_token_id=self._pad,
                repetition_penalty=sampling.repetition_penalty,
                **(chosen if draws else dict.fromkeys(chosen)),
            ),
        )

    @property
    def _pad(self) -> int | None:
        pad = self.tokenizer.pad_token_id
        return cast("int | None", self.tokenizer.eos_token_id if pad is None else pad)
