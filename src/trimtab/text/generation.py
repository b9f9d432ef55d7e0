"""Answering a prompt: any transformers language model behind one function that yields text as it comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jinja2 import TemplateError
from torch import nn

from trimtab.core.errors import RangeError
from trimtab.models.load import Quantization, load_network
from trimtab.nn.linear import set_exact
from trimtab.store.adapter import load_adapter
from trimtab.text.chat_format import FALLBACK_TEMPLATE, beginning, chat_template, write_messages
from trimtab.text.engine.request import Sampling as Sampling


@dataclass(frozen=True)
class Answer:
    """What was written, and what it cost."""

    text: str
    tokens: int
    prompt_tokens: int
    seconds: float


class Speaker:
    """A network and its tokenizer, ready to answer."""

    def __init__(self, net: nn.Module, tokenizer: Any) -> None:
        """Take a loaded network."""
        self.net, self.tokenizer = net.eval(), tokenizer

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        adapter: Path | None = None,
        quantization: Quantization | None = None,
        device: torch.device | None = None,
    ) -> Speaker:
        """Load a model folder and, where given, an adapter.

        Quantized layers may use the fast integer arithmetic, see ``QuantizedLinear.exact``.

        Args:
            folder: in transformers' layout.
            adapter: PEFT folder.
            quantization: how to store the linear weights; None keeps them as they are.
            device: the CPU where None.
        """
        from trimtab.models.tokenizer import read_tokenizer

        net = load_network(folder, quantization=quantization).to(device or torch.device("cpu"))
        if adapter is not None:
            load_adapter(net, adapter)
        return cls(set_exact(net, False), read_tokenizer(folder))

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

    def answer(self, prompt: str, sampling: Sampling) -> Answer:
        """Write the continuation of a prompt.

        Raises:
            RangeError: the prompt leaves no room in the model's window.
        """
        began = time.perf_counter()
        ids = self._encode(prompt, sampling)
        written = self._generate(ids, sampling)
        new = written[0, 0 if self._seq2seq else ids.shape[1] :]
        text = cast(str, self.tokenizer.decode(new, skip_special_tokens=True))
        return Answer(text, int(new.numel()), int(ids.shape[1]), time.perf_counter() - began)

    def stream(self, prompt: str, sampling: Sampling) -> Iterator[str]:
        """Yield the continuation piece by piece."""
        from transformers import TextIteratorStreamer

        ids = self._encode(prompt, sampling)
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=not self._seq2seq, skip_special_tokens=True)
        failures: list[BaseException] = []

        def work() -> None:
            try:
                self._generate(ids, sampling, streamer=streamer)
            except Exception as error:  # noqa: BLE001 - handed to the reading thread below
                failures.append(error)
                streamer.end()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield from streamer
        thread.join()
        if failures:
            raise failures[0]

    @property
    def _seq2seq(self) -> bool:
        return bool(cast(Any, self.net).config.is_encoder_decoder)

    def _encode(self, prompt: str, sampling: Sampling) -> torch.Tensor:
        ids = torch.tensor([self._ids(prompt)])
        window = getattr(cast(Any, self.net).config.get_text_config(), "max_position_embeddings", None)
        if not prompt or ids.shape[1] == 0:
            raise RangeError("the prompt is empty. Give --prompt some text.")
        if window and not self._seq2seq and ids.shape[1] + sampling.max_tokens > window:
            raise RangeError(
                f"a prompt of {ids.shape[1]} tokens and {sampling.max_tokens} new ones pass the window of {window}. "
                "Shorten the prompt or lower --max-tokens."
            )
        return ids.to(next(self.net.parameters()).device)

    def _ids(self, prompt: str) -> list[int]:
        """Tokenize as training does: a template writes its own special tokens, a bare text gets the tokenizer's."""
        bare = chat_template(self.tokenizer) is None
        ids: list[int] = self.tokenizer(prompt, add_special_tokens=bare and self._seq2seq).input_ids
        return [*beginning(self.tokenizer), *ids] if bare and not self._seq2seq else ids

    @torch.no_grad()
    def _generate(self, ids: torch.Tensor, sampling: Sampling, streamer: Any = None) -> torch.Tensor:
        torch.manual_seed(sampling.seed)
        draws = sampling.temperature > 0
        options: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p} if draws else {}
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.tokenizer.eos_token_id
        return cast(
            torch.Tensor,
            cast(Any, self.net).generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=sampling.max_tokens,
                do_sample=draws,
                streamer=streamer,
                pad_token_id=pad,
                **({"top_k": 0} | options if draws else {"temperature": None, "top_p": None, "top_k": None}),
            ),
        )
