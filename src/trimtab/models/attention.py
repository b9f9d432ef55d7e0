"""Our own attention inside networks of transformers, wherever it is exactly what they would have computed.

transformers lets a network's attention, and the form of its masks, be named and supplied. Under our name the mask is
made as it is for PyTorch's attention, then looked at once a forward pass: if every query sees one run of keys that
ends at its own place (padding on the left, packed examples, sliding windows), the first key of each query is handed
to the layers instead of the mask. Each layer's call goes to our operator where that computes the same, else to
PyTorch's, with the mask it would have had.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from jaxtyping import Int32, Shaped
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake

from trimtab.kernels import ops

NAME = "trimtab"
PEER = "sdpa"
"""The implementation of transformers that ours stands in for and falls back to."""

FEWEST_QUERIES = 16
"""Below this, as in writing token by token behind a cache, PyTorch's attention is the faster one."""

TOLERANCE = 1e-4
TRIAL_MASK = ((0, 1, 1, 1), (1, 1, 1, 1))

_fewest = ContextVar("fewest", default=FEWEST_QUERIES)
_log = logging.getLogger("trimtab.models")


def use_own_attention(net: nn.Module, *, on_trial: bool = True) -> bool:
    """Let a causal network of transformers compute attention with our operator, in place.

    Nothing happens without the compiled kernels, to encoder-decoder networks, and to networks that do not take
    PyTorch's attention through transformers' interface.

    Args:
        net: of transformers, on any device; only calls on the CPU in float32 are taken over.
        on_trial: compare logits on a few tokens, with and without padding; False for networks without values.

    Returns:
        Whether the network uses it now.
    """
    if not _can_use(net):
        return False
    _register()
    if on_trial and not _agrees(net):
        _log.info("attention of %s stays PyTorch's: ours gives other numbers", type(net).__name__)
        return False
    _name_attention(net, NAME)
    return True


def starts_of(mask: Shaped[Tensor, "batch heads queries keys"]) -> Int32[Tensor, "batch queries"] | None:
    """Give the first key that each query sees, or None where a mask is anything but one run of keys for each.

    A run ends at the query's own place, counted from the end. A query that sees nothing starts behind that place.
    """
    if mask.dtype != torch.bool or mask.dim() != 4 or mask.shape[1] != 1 or mask.shape[2] > mask.shape[3]:
        return None
    rows = mask.shape[0]
    seen = mask[:1, 0] if mask.stride(0) == 0 else mask[:, 0]  # (batch, queries, keys)
    queries, keys = seen.shape[1:]
    ends = torch.arange(queries, device=mask.device) + (keys - queries + 1)
    starts = torch.where(seen.any(dim=-1), seen.to(torch.int8).argmax(dim=-1), ends).to(torch.int32)
    if not torch.equal(seen, ops.visible_keys(starts, queries=queries, keys=keys, device=mask.device)[:, 0]):
        return None
    return starts.expand(rows, -1)


def _mask(*sizes: int, **options: Any) -> Tensor | None:
    """Make PyTorch's mask; give starts, (batch, 1, queries, 1), for one that they can say as well."""
    from transformers.masking_utils import sdpa_mask

    mask: Tensor | None = sdpa_mask(*sizes, **options)
    if mask is None or torch.compiler.is_compiling() or mask.device.type != "cpu" or mask.shape[2] < _fewest.get():
        return mask
    if is_fake(mask):  # only sizes are counted: those of a mask that says no more than starts would
        return mask.new_zeros((mask.shape[0], 1, mask.shape[2], 1), dtype=torch.int32)
    starts = starts_of(mask)
    return mask if starts is None else starts[:, None, :, None]


def _forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend, as transformers calls it: (batch, heads, time, head) in, (batch, time, heads, head) out."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    starts = attention_mask[:, 0, :, 0] if _are_starts(attention_mask) else None  # type: ignore[index]
    if starts is not None or (attention_mask is None and _is_causal(module, options)):
        if _is_plain(options) and _fits(query, key, value):
            if starts is None and key.shape[2] > query.shape[2]:
                # transformers leaves the mask out here only where nothing has been read before: a cache still empty.
                key, value = key[:, :, : query.shape[2]], value[:, :, : query.shape[2]]
            scale = options.get("scaling") or query.shape[-1] ** -0.5
            return ops.attention(query, key, value, starts, scale=float(scale)), None
        if starts is not None:
            attention_mask = ops.visible_keys(starts, queries=query.shape[2], keys=key.shape[2], device=query.device)
    given = (module, query, key, value, attention_mask)
    return cast("tuple[Tensor, None]", sdpa_attention_forward(*given, **options))


def _are_starts(mask: Tensor | None) -> bool:
    return mask is not None and mask.dtype == torch.int32


def _is_causal(module: nn.Module, options: dict[str, Any]) -> bool:
    given = options.get("is_causal")
    return bool(getattr(module, "is_causal", True) if given is None else given)


def _is_plain(options: dict[str, Any]) -> bool:
    """Tell whether a call asks for nothing but softmax attention."""
    absent = ("position_bias", "cache", "softcap", "s_aux", "output_attentions")
    return not options.get("dropout") and all(options.get(name) in (None, False) for name in absent)


def _fits(query: Tensor, key: Tensor, value: Tensor) -> bool:
    return (
        all(x.device.type == "cpu" and x.dtype == torch.float32 for x in (query, key, value))
        and query.shape[2] >= _fewest.get()
        and query.shape[2] <= key.shape[2]
        and key.shape == value.shape
        and query.shape[0] == key.shape[0]
        and query.shape[1] % key.shape[1] == 0
        and query.shape[3] == key.shape[3] <= ops.LARGEST_HEAD
    )


def _can_use(net: Any) -> bool:
    config = getattr(net, "config", None)
    return (
        ops.implementation("cpu") == "cpu"
        and not getattr(config, "is_encoder_decoder", True)
        and getattr(config, "_attn_implementation", None) == PEER
        and bool(getattr(net, "_supports_attention_backend", False))
        and bool(net._can_set_attn_implementation())
    )


def _register() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    register: Callable[..., None] = ALL_ATTENTION_FUNCTIONS.register
    register(NAME, _forward)
    register = ALL_MASK_ATTENTION_FUNCTIONS.register
    register(NAME, _mask)


def _name_attention(net: nn.Module, name: str) -> None:
    cast(Any, net).set_attn_implementation(name)


@torch.no_grad()
def _agrees(net: nn.Module) -> bool:
    """Compare both on a few tokens, one row padded on the left, with mask and without; leave the network as it was."""
    seen = torch.tensor(TRIAL_MASK, device=next(net.parameters()).device)
    ids = torch.arange(seen.numel(), device=seen.device).view_as(seen) % _vocabulary(net)
    with _trial(net):
        for inputs in ({"attention_mask": seen}, {}):
            logits = []
            for name in (PEER, NAME):
                _name_attention(net, name)
                logits.append(cast(Any, net)(input_ids=ids, use_cache=False, **inputs).logits[seen.bool()].float())
            wanted, found = logits
            if not (wanted - found).abs().max() <= TOLERANCE * wanted.abs().max().clamp(min=1.0):
                return False
    return True


def _vocabulary(net: nn.Module) -> int:
    return int(cast(Any, net).config.get_text_config().vocab_size)


@contextmanager
def _trial(net: nn.Module) -> Iterator[None]:
    training = {module: module.training for module in net.modules()}
    token = _fewest.set(1)
    net.eval()
    try:
        yield
    finally:
        _fewest.reset(token)
        _name_attention(net, PEER)
        for module, was in training.items():
            module.training = was
