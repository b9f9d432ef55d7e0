"""Where operators are announced to PyTorch, so that autograd and torch.compile know them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

NAMESPACE = "trimtab"

_library: Any = torch.library.Library(NAMESPACE, "DEF")  # type: ignore[no-untyped-call]


def register(schema: str, body: Callable[..., Any], fake: Callable[..., Any]) -> Callable[..., Any]:
    """Register an operator.

    Args:
        schema: name and signature in torch.library's notation; the name stands before the first bracket.
        body: computes, on any device.
        fake: gives results of the right shape and dtype without looking at values.

    Returns:
        The operator, to be called with positional arguments.
    """
    name = schema.partition("(")[0]
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, body, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_library)
    operator: Callable[..., Any] = getattr(getattr(torch.ops, NAMESPACE), name).default
    return operator


def register_gradient(name: str, backward: Callable[..., Any], setup: Callable[..., None]) -> None:
    """Give a registered operator its gradient, as ``torch.library.register_autograd`` takes it."""
    torch.library.register_autograd(f"{NAMESPACE}::{name}", backward, setup_context=setup, lib=_library)


def takes_short_path(*tensors: torch.Tensor | None) -> bool:
    """Say whether an operator's body may be called directly: plain tensors, no gradient, nothing tracing.

    The dispatcher costs tens of microseconds a call, which a model of many small layers pays hundreds of times a
    token.
    """
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
        return False
    recording = torch.is_grad_enabled()
    for tensor in tensors:
        if tensor is None:
            continue
        if recording and tensor.requires_grad:
            return False
        kind = type(tensor)
        if kind is not torch.Tensor and kind is not torch.nn.Parameter:
            return False
    return True
