"""Any causal or encoder-decoder language model of transformers behind one small face: hidden states, head, loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from trimtab.core.errors import RangeError
from trimtab.nn.loss import Head, target_cross_entropy

PROBE_LENGTH = 4
PROBE_TOLERANCE = 1e-4


class LanguageModel:
    """A network, its head found and its logits understood.

    The hidden states are taken where they enter the head, so that whatever a network does before it (T5 scales,
    others normalise) is included; what is done after it is found out once, on a few tokens, and checked.
    """

    def __init__(self, net: nn.Module) -> None:
        """Look at a network.

        Raises:
            RangeError: it has no output head.
        """
        if cast(Any, net).get_output_embeddings() is None:
            raise RangeError(f"{type(net).__name__} has no output head: it is no language model.")
        self.net = net
        self.config: Any = cast(Any, net).config
        self.seq2seq = bool(self.config.is_encoder_decoder)
        self.head = self._understand_head()

    @property
    def head_module(self) -> Any:
        """The output head as it is now: somebody may wrap or replace it."""
        return cast(Any, self.net).get_output_embeddings()

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return next(self.net.parameters()).device

    def hidden(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Give the hidden states that enter the head, (batch, time, width), without computing logits."""
        return hidden_states(self.net, inputs)

    def logits(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Give all logits, (batch, time, vocabulary), as the network itself computes them."""
        return cast(Tensor, self.net(**inputs).logits)

    def loss_sum(self, inputs: Mapping[str, Tensor], labels: Tensor) -> tuple[Tensor, int]:
        """Sum the loss over target tokens.

        Args:
            inputs: what the network's forward takes.
            labels: (batch, time) the token at each position, -100 where none is to be learned. A causal model
                predicts each from the position before; a decoder predicts each in place.

        Returns:
            The sum, natural logarithm, and the number of targets.
        """
        if self.seq2seq:
            written = cast(Any, self.net).prepare_decoder_input_ids_from_labels(labels=labels)
            hidden = self.hidden({**inputs, "decoder_input_ids": written})
        else:
            hidden, labels = self.hidden(_without_idle_mask(inputs))[:, :-1], labels[:, 1:]
        wanted = labels != -100
        rows = hidden[wanted]  # (targets, width)
        head = self._current_head()
        loss = self._head_loss(rows, labels[wanted], head) if head else self._plain_loss(rows, labels[wanted])
        return loss, int(rows.shape[0])

    def _head_loss(self, rows: Tensor, targets: Tensor, head: Head) -> Tensor:
        return target_cross_entropy(rows.to(head.weight.dtype), targets, head)

    def _plain_loss(self, rows: Tensor, targets: Tensor) -> Tensor:
        """Apply the head as the module it is, for heads that are more than one projection."""
        return torch.nn.functional.cross_entropy(self.head_module(rows).float(), targets, reduction="sum")

    def _current_head(self) -> Head | None:
        if self.head is None:
            return None
        weight, bias = cast(Tensor, self.head_module.weight), cast("Tensor | None", self.head_module.bias)
        return Head(weight, bias, self.head.scale, self.head.softcap)

    @torch.no_grad()
    def _understand_head(self) -> Head | None:
        """Find scale and soft cap of the logits, and check them against the network on a few tokens."""
        if type(self.head_module) is not nn.Linear:
            return None
        training = self.net.training
        self.net.eval()
        ids = torch.arange(PROBE_LENGTH, device=self.device)[None] % int(self.config.get_text_config().vocab_size)
        inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if self.seq2seq else {})
        wanted, rows = self.logits(inputs)[0].float(), self.hidden(inputs)[0]
        self.net.train(training)
        scale = _number(self.config, "logit_scale") or 1.0 / (_number(self.config, "logits_scaling") or 1.0)
        softcap = _number(self.config, "final_logit_softcapping")
        head = Head(self.head_module.weight, cast("Tensor | None", self.head_module.bias), scale, softcap)
        difference = (head.logits(rows.to(head.weight.dtype)) - wanted).abs().max()
        if not difference <= PROBE_TOLERANCE * wanted.abs().max().clamp(min=1.0):
            raise RangeError(
                f"{type(self.net).__name__} treats its logits in a way that is not known here "
                f"(difference {difference:.2e}). Allowed: plain, scaled or soft-capped logits."
            )
        return head


def hidden_states(net: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Give what enters a network's head, (batch, time, width), without computing logits."""
    taken: list[Tensor] = []
    with _replaced_forward(cast(Any, net).get_output_embeddings(), taken):
        net(**{**inputs, "use_cache": False})
    return taken[0]


def _without_idle_mask(inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Drop a mask that only hides padding on the right: a causal model never looks there from a real token.

    Without a mask attention takes its fastest path, and no (time, time) matrix is made.
    """
    mask = inputs.get("attention_mask")
    if mask is None or mask.dim() != 2 or not bool((mask[:, 1:] <= mask[:, :-1]).all() and mask[:, 0].all()):
        return inputs
    return {key: value for key, value in inputs.items() if key != "attention_mask"}


@contextmanager
def _replaced_forward(head: nn.Module, taken: list[Tensor]) -> Iterator[None]:
    """Let the head take its input and answer with next to nothing."""

    def take(hidden: Tensor) -> Tensor:
        taken.append(hidden)
        return hidden[..., :1]

    head.forward = take  # type: ignore[method-assign]
    try:
        yield
    finally:
        del head.forward


def _number(config: Any, name: str) -> float | None:
    value = getattr(config.get_text_config(), name, None)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
