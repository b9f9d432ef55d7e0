"""Answering a prompt: any transformers language model behind one function that yields text as it comes."""

from __future__ import annotations

import gc
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import nn

from trimtab.core.errors import RangeError
from trimtab.models.decoders import decoder_of, end_tokens, load_to_answer
from trimtab.models.load import Quantization
from trimtab.text.encoder_decoder import EncoderDecoder
from trimtab.text.engine import Engine, Event, Finished, Request, Sampling
from trimtab.text.prompts import PromptWriter


@dataclass(frozen=True)
class Written:
    """What was written, and what it cost."""

    text: str
    tokens: int
    prompt_tokens: int
    seconds: float


@runtime_checkable
class Writer(Protocol):
    """Answers requests one after another."""

    def generate(self, request: Request) -> Generator[Event, None, None]:
        """Yield pieces of the answer, then its end; closing it stops the writing."""


class Speaker:
    """A network and its tokenizer, ready to answer.

    Attributes:
        tokenizer: of transformers.
        prompts: writes what ``answer`` and ``stream`` take.
        window: most tokens of prompt and answer together; None where there is no limit, or where they are apart.
    """

    def __init__(
        self, net: nn.Module, tokenizer: Any, *, ends: Sequence[int] | None = None, exact: bool = False
    ) -> None:
        """Take a loaded network.

        Args:
            net: causal, or encoder-decoder; with all adapters that will be asked for.
            tokenizer: its own.
            ends: tokens that end an answer; the tokenizer's one where None.
            exact: see ``models.decoders.decoder_of``.
        """
        self.tokenizer = tokenizer
        encoder = bool(cast(Any, net).config.is_encoder_decoder)
        place = str(getattr(tokenizer, "name_or_path", "") or "the model")
        self.prompts = PromptWriter(tokenizer, encoder=encoder, place=place)
        self.window: int | None = None
        if encoder:
            self._writer: Writer = EncoderDecoder(net, tokenizer)
        else:
            decoder = decoder_of(net.eval(), exact=exact)
            self.window = decoder.window
            self._writer = Engine(decoder, tokenizer, ends=ends)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        adapters: Mapping[str, Path] | None = None,
        quantization: Quantization | None = None,
        device: torch.device | None = None,
    ) -> Speaker:
        """Load a model folder and, where given, adapters.

        Args:
            folder: in transformers' layout.
            adapters: PEFT folders by the names under which answers will be asked for.
            quantization: how to store the linear weights; None keeps them as they are.
            device: the CPU where None.
        """
        from trimtab.models.tokenizer import read_tokenizer

        net = load_to_answer(folder, adapters=adapters, quantization=quantization, device=device)
        tokenizer = read_tokenizer(folder)
        gc.freeze()  # the network lives as long as the process; the collector need not walk it for every token
        return cls(net, tokenizer, ends=end_tokens(folder, tokenizer))

    def answer(self, prompt: Sequence[int], sampling: Sampling, *, adapter: str | None = None) -> Written:
        """Write the continuation of a prompt.

        Args:
            prompt: token ids, as of ``prompts``.
            sampling: how to choose tokens.
            adapter: None is the bare base.

        Raises:
            RangeError: the prompt is empty or leaves no room in the model's window, or there is no such adapter.
        """
        began = time.perf_counter()
        texts: list[str] = []
        for event in self._events(prompt, sampling, adapter):
            if isinstance(event, Finished):
                usage = event.usage
            else:
                texts.append(event.text)
        return Written("".join(texts), usage.generated, usage.prompt, time.perf_counter() - began)

    def stream(
        self, prompt: Sequence[int], sampling: Sampling, *, adapter: str | None = None
    ) -> Generator[str, None, None]:
        """Yield the continuation piece by piece; closing the iterator stops the writing.

        Args:
            prompt: token ids, as of ``prompts``.
            sampling: how to choose tokens.
            adapter: None is the bare base.

        Raises:
            RangeError: as ``answer``.
        """
        with closing(self._events(prompt, sampling, adapter)) as events:
            for event in events:
                if not isinstance(event, Finished) and event.text:
                    yield event.text

    def _events(self, prompt: Sequence[int], sampling: Sampling, adapter: str | None) -> Generator[Event, None, None]:
        self._check_room(prompt, sampling)
        with closing(self._writer.generate(Request(tuple(prompt), sampling, adapter))) as events:
            for event in events:
                if isinstance(event, Finished) and event.error is not None:
                    raise event.error
                yield event

    def _check_room(self, prompt: Sequence[int], sampling: Sampling) -> None:
        if not prompt:
            raise RangeError("the prompt is empty. Give it some text.")
        if self.window and len(prompt) + sampling.max_tokens > self.window:
            raise RangeError(
                f"a prompt of {len(prompt)} tokens and {sampling.max_tokens} new ones pass the window of "
                f"{self.window}. Shorten the prompt or ask for fewer tokens."
            )
