"""What all generators' layers are made of."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trimtab.models.stylegan.layers import scaled


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def gradient(x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    by = torch.ones(x.shape[:2], requires_grad=True)
    return torch.autograd.grad(scaled(x, by), by, grad)[0]


def test_each_channel_is_scaled():
    x, by = drawn(2, 3, 4, 5), torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert torch.equal(scaled(x, by), torch.stack([x[0] * by[0, :, None, None], x[1] * by[1, :, None, None]]))


def test_gradients_are_those_of_finite_differences():
    given = drawn(2, 3, 4, 5).double().requires_grad_(), drawn(2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(scaled, given)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("threads", [1, 2])
def test_pixels_without_a_gradient_do_not_change_its_sum(layout, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x, grad = drawn(1, 256, 64, 64).to(memory_format=layout), drawn(1, 256, 28, 32)
        part = x[:, :, 20:48, 8:40].contiguous(memory_format=layout)
        whole = F.pad(grad, (8, 24, 20, 16)).to(memory_format=layout)
        assert torch.equal(gradient(part, grad.to(memory_format=layout)), gradient(x, whole))
        plain = ((part * grad).sum(dim=(2, 3)), (x * whole).sum(dim=(2, 3)))
        assert not torch.equal(*plain), "the test is without force where plain sums agree too"
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_only_gradients_that_are_wanted_are_made(wanted):
    given = [tensor.requires_grad_(want) for tensor, want in zip((drawn(1, 2, 3, 3), drawn(1, 2)), wanted, strict=True)]
    scaled(*given).sum().backward()
    assert [tensor.grad is not None for tensor in given] == list(wanted)
