"""Answering a prompt: any transformers language model behind one function that yields text as it comes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from jinja2 import TemplateError
from torch import nn

from trimtab.core.errors import RangeError
from trimtab.models.decoders import decoder_of, end_tokens
from trimtab.models.load import Quantization, load_network
from trimtab.store.adapter import load_adapter
from trimtab.text.chat_format import FALLBACK_TEMPLATE, beginning, chat_template, write_messages
from trimtab.text.encoder_decoder import EncoderDecoder
from trimtab.text.engine import Engine, Event, Finished, Request, Sampling


@dataclass(frozen=True)
class Answer:
    """What was written, and what it cost."""

    text: str
    tokens: int
    prompt_tokens: int
    seconds: float


class Writer(Protocol):
    """Answers requests one after another."""

    def generate(self, request: Request) -> Iterator[Event]:
        """Yield pieces of the answer, then its end."""


class Speaker:
    """A network and its tokenizer, ready to answer.

    Attributes:
        tokenizer: of transformers.
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
        self._seq2seq = bool(cast(Any, net).config.is_encoder_decoder)
        self.window: int | None = None
        if self._seq2seq:
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

        net = load_network(folder, quantization=quantization).to(device or torch.device("cpu"))
        for name, path in (adapters or {}).items():
            load_adapter(net, path, adapter=name)
        tokenizer = read_tokenizer(folder)
        return cls(net, tokenizer, ends=end_tokens(folder, tokenizer))

    def chat_prompt(self, messages: Sequence[dict[str, str]]) -> str:
        """Write a conversation, ready for its answer, as training writes it: in the model's own format if it has one.

        Raises:
            RangeError: the model's template refuses these roles.
        """
        own = chat_template(self.tokenizer)
        try:
            return write_messages(messages, self.tokenizer, own or FALLBACK_TEMPLATE, generate=True)
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            place = getattr(self.tokenizer, "name_or_path", "") or "the model"
            problem = (str(error).splitlines() or [type(error).__name__])[0]
            raise RangeError(
                f"{place}: the chat template refuses the roles {roles} ({problem}). Use --raw, or other roles."
            ) from error

    def answer(self, prompt: str, sampling: Sampling, *, adapter: str | None = None) -> Answer:
        """Write the continuation of a prompt.

        Raises:
            RangeError: the prompt leaves no room in the model's window, or there is no such adapter.
        """
        began = time.perf_counter()
        texts: list[str] = []
        for event in self._events(prompt, sampling, adapter):
            if isinstance(event, Finished):
                usage = event.usage
            else:
                texts.append(event.text)
        return Answer("".join(texts), usage.generated, usage.prompt, time.perf_counter() - began)

    def stream(self, prompt: str, sampling: Sampling, *, adapter: str | None = None) -> Generator[str, None, None]:
        """Yield the continuation piece by piece; closing the iterator stops the writing.

        Raises:
            RangeError: as ``answer``.
        """
        for event in self._events(prompt, sampling, adapter):
            if not isinstance(event, Finished) and event.text:
                yield event.text

    def _events(self, prompt: str, sampling: Sampling, adapter: str | None) -> Iterator[Event]:
        for event in self._writer.generate(Request(self._encode(prompt, sampling), sampling, adapter)):
            if isinstance(event, Finished) and event.error is not None:
                raise event.error
            yield event

    def _encode(self, prompt: str, sampling: Sampling) -> tuple[int, ...]:
        ids = tuple(self._ids(prompt))
        if not prompt or not ids:
            raise RangeError("the prompt is empty. Give --prompt some text.")
        if self.window and len(ids) + sampling.max_tokens > self.window:
            raise RangeError(
                f"a prompt of {len(ids)} tokens and {sampling.max_tokens} new ones pass the window of {self.window}. "
                "Shorten the prompt or lower --max-tokens."
            )
        return ids

    def _ids(self, prompt: str) -> list[int]:
        """Tokenize as training does: a template writes its own special tokens, a bare text gets the tokenizer's."""
        bare = chat_template(self.tokenizer) is None
        ids: list[int] = self.tokenizer(prompt, add_special_tokens=bare and self._seq2seq).input_ids
        return [*beginning(self.tokenizer), *ids] if bare and not self._seq2seq else ids
