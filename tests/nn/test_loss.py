"""The chunked cross-entropy equals PyTorch's on the full matrix of logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trimtab.nn.loss import Head, target_cross_entropy


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def full_loss(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, head: Head) -> Tensor:
    logits = torch.nn.functional.linear(hidden, weight, bias) * head.scale
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 30])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.25, None), (1.0, 5.0), (0.5, 2.0)])
@pytest.mark.parametrize("biased", [False, True])
def test_loss_and_every_gradient_equal_the_full_computation(
    rows: int, scale: float, softcap: float | None, biased: bool
) -> None:
    hidden, weight = draw(rows, 16).requires_grad_(), draw(50, 16, seed=1).requires_grad_()
    bias = draw(50, seed=2).requires_grad_() if biased else None
    targets = torch.arange(rows) * 7 % 50
    head = Head(weight, bias, scale, softcap)
    leaves = [leaf for leaf in (hidden, weight, bias) if leaf is not None]
    expected = full_loss(hidden, weight, bias, targets, head)
    expected_grads = torch.autograd.grad(expected * 0.5, leaves)
    found = target_cross_entropy(hidden, targets, head, chunk_rows=8)
    found_grads = torch.autograd.grad(found * 0.5, leaves)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found_grads, expected_grads, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("learning", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_each_part_gets_its_gradient_where_others_are_frozen(learning: tuple[int, ...]) -> None:
    leaves = [draw(9, 16), draw(50, 16, seed=1), draw(50, seed=2)]
    for index in learning:
        leaves[index].requires_grad_()
    hidden, weight, bias = leaves
    targets, head = torch.arange(9), Head(weight, bias)
    wanted = [leaves[index] for index in learning]
    expected = torch.autograd.grad(full_loss(hidden, weight, bias, targets, head), wanted)
    found = torch.autograd.grad(target_cross_entropy(hidden, targets, head, chunk_rows=4), wanted)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_second_backward_pass_is_refused_instead_of_scaling_twice() -> None:
    hidden = draw(3, 16).requires_grad_()
    loss = target_cross_entropy(hidden, torch.tensor([1, 2, 3]), Head(draw(50, 16, seed=1)))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="carried back twice"):
        loss.backward()


def test_no_rows_cost_nothing_and_give_zero() -> None:
    weight = draw(50, 16)
    assert target_cross_entropy(draw(0, 16), torch.zeros(0, dtype=torch.long), Head(weight)).item() == 0.0


def test_nan_hidden_states_give_a_nan_loss() -> None:
    hidden = draw(3, 16)
    hidden[1, 2] = float("nan")
    assert target_cross_entropy(hidden, torch.tensor([1, 2, 3]), Head(draw(50, 16, seed=1))).isnan()


def test_logits_far_apart_stay_finite() -> None:
    loss = target_cross_entropy(draw(3, 16) * 1e4, torch.tensor([1, 2, 3]), Head(draw(50, 16, seed=1)))
    assert loss.isfinite()
