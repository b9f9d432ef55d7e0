"""Answers of encoder-decoder models, one at a time, through transformers' own generation."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from trimtab.core.errors import RangeError
from trimtab.nn.lora import activate
from trimtab.text.engine import Event, Finished, Piece, Request, Sampling, Usage

THREAD_NAME: Final = "trimtab-encoder-decoder"
UNKNOWN_HERE: Final = ("stop", "logprobs", "presence_penalty", "frequency_penalty")


class EncoderDecoder:
    """A network that reads the whole prompt first and then writes."""

    def __init__(self, net: nn.Module, tokenizer: Any) -> None:
        """Take a loaded network."""
        self.net, self.tokenizer = net.eval(), tokenizer

    def generate(self, request: Request) -> Generator[Event, None, None]:
        """Yield the answer piece by piece, then its end; closing the iterator stops the writing.

        Raises:
            RangeError: stop texts, log-probabilities, a constraint, or penalties for what was written are asked for.
        """
        from transformers import TextIteratorStreamer

        _refuse_unknown(request)
        streamer = TextIteratorStreamer(self.tokenizer, skip_special_tokens=True)
        written: list[Tensor] = []
        failures: list[BaseException] = []
        stopped = threading.Event()

        def work() -> None:
            try:
                written.append(self._write(request, streamer, stopped)[0])
            except Exception as error:  # noqa: BLE001 - handed to the reading thread below
                failures.append(error)
                streamer.end()

        thread = threading.Thread(target=work, daemon=True, name=THREAD_NAME)
        thread.start()
        try:
            for text in streamer:
                yield Piece(text, ())
        finally:  # whoever asks next finds nobody at work on the network
            stopped.set()
            thread.join()
        if failures:
            raise failures[0]
        yield self._finished(request, written[0].tolist())

    def _finished(self, request: Request, written: list[int]) -> Finished:
        tokens = len(written) - 1  # the first one only starts the decoder
        full = tokens >= request.sampling.max_tokens and written[-1] not in self._ends
        return Finished("length" if full else "stop", Usage(len(request.prompt), 0, tokens))

    @torch.no_grad()
    def _write(self, request: Request, streamer: Any, stopped: threading.Event) -> Tensor:
        sampling: Sampling = request.sampling
        activate(self.net, request.adapter)
        torch.manual_seed(sampling.seed)
        ids = torch.tensor([request.prompt], device=next(self.net.parameters()).device)
        draws = sampling.temperature > 0
        chosen: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p or None,
        }

        def is_stopped(tokens: Tensor, _: Any, **__: Any) -> Tensor:
            return torch.full((len(tokens),), stopped.is_set(), device=tokens.device)

        return cast(
            Tensor,
            cast(Any, self.net).generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=sampling.max_tokens,
                do_sample=draws,
                streamer=streamer,
                stopping_criteria=[is_stopped],
                pad_token_id=self._pad,
                repetition_penalty=sampling.repetition_penalty,
                **(chosen if draws else dict.fromkeys(chosen)),
            ),
        )

    @property
    def _ends(self) -> list[int]:
        """Tokens that end an answer."""
        ends = cast(Any, self.net).generation_config.eos_token_id
        return ends if isinstance(ends, list) else [] if ends is None else [ends]

    @property
    def _pad(self) -> int | None:
        pad = self.tokenizer.pad_token_id
        return cast("int | None", self.tokenizer.eos_token_id if pad is None else pad)


def _refuse_unknown(request: Request) -> None:
    asked = [name for name in UNKNOWN_HERE if getattr(request.sampling, name) != getattr(Sampling(), name)]
    asked += [] if request.constraint is None else ["a constraint"]
    if asked:
        message = f"{', '.join(asked)}: not known to encoder-decoder models. Leave it out, or ask a causal model."
        raise RangeError(message)
