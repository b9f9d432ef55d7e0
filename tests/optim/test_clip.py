"""Gradient clipping."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trimtab.core.errors import RangeError
from trimtab.optim.clip import clip_grad_norm


def _params(*grads: list[float] | None) -> list[nn.Parameter]:
    params = [nn.Parameter(torch.zeros(len(grad or [0]))) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = None if grad is None else torch.tensor(grad)
    return params


def test_long_gradients_are_scaled_to_the_limit_together() -> None:
    params = _params([3.0, 0.0], [4.0])
    assert clip_grad_norm(params, 1.0) == pytest.approx(5.0)
    assert torch.cat([param.grad for param in params]).tolist() == pytest.approx([0.6, 0.0, 0.8])  # type: ignore[misc]


def test_short_gradients_are_left_to_the_bit() -> None:
    params = _params([0.1, 0.2])
    clip_grad_norm(params, 0.3)
    assert torch.equal(params[0].grad, torch.tensor([0.1, 0.2]))  # type: ignore[arg-type]


def test_parameters_without_gradient_are_passed_over() -> None:
    assert clip_grad_norm(_params(None, [2.0]), math.inf) == pytest.approx(2.0)
    assert clip_grad_norm(_params(None), 1.0) == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_no_number_shows_in_the_norm_and_nothing_is_scaled(bad: float) -> None:
    params = _params([9.0], [bad, 1.0])
    assert not math.isfinite(clip_grad_norm(params, 1.0))
    assert params[0].grad.item() == 9.0  # type: ignore[union-attr]


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_a_limit_that_is_not_above_zero_is_refused(limit: float) -> None:
    with pytest.raises(RangeError):
        clip_grad_norm(_params([1.0]), limit)
