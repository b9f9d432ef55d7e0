"""The directions in which styles vary."""

from __future__ import annotations

import torch

from dragging import net, wide
from trimtab.drag.directions import natural_directions


def test_they_are_orthogonal_with_a_mean_square_of_one():
    rows = natural_directions(net())
    products = rows @ rows.T
    assert (products - products.diag().diag()).abs().max() < 1e-3 * products.max()
    assert abs(products.diag().mean() - 1) < 1e-4


def test_styles_vary_in_proportion_to_their_lengths():
    """Judged on styles that were not used to find them."""
    rows = natural_directions(net())
    lengths = rows.norm(dim=1)
    latents = torch.randn(4000, net().z_width, generator=torch.Generator().manual_seed(9))
    along = net().map(latents) @ (rows / lengths[:, None].clamp(min=1e-9)).T
    large = lengths > 0.1 * lengths.max()
    ratio = along.var(dim=0)[large] / lengths[large]
    assert large.sum() > 3
    assert (ratio / ratio.mean() - 1).abs().max() < 0.2


def test_they_are_always_the_same_and_belong_to_their_generator():
    first = natural_directions(net()).clone()
    assert torch.equal(natural_directions(net()), first)
    assert natural_directions(wide()).shape == (wide().w_width, wide().w_width)
