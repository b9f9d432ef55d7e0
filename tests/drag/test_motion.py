"""The pull on a disc."""

from __future__ import annotations

import math

import pytest
import torch

from trimtab.core.errors import RangeError
from trimtab.drag.motion import check_discs, disc, motion_loss, step_vectors
from trimtab.drag.sampling import Lattice, MapPart
from trimtab.drag.settings import DragSettings


def points(*pairs: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(pairs, dtype=torch.float64)


def ramp(slope: float = 1.0) -> MapPart:
    """A map that rises to the right: one channel, of the picture's own size."""
    return MapPart((slope * torch.arange(32.0)).expand(1, 32, 32).clone().requires_grad_(), Lattice(32, 32))


def test_a_step_has_its_length_towards_the_target():
    way = step_vectors(points((3, 4)), points((9, 12)), DragSettings(step_px=2.0))
    torch.testing.assert_close(way, points((1.2, 1.6)))


@pytest.mark.parametrize(("shorten", "length"), [(True, 0.5), (False, 2.0)])
def test_a_step_is_shortened_near_the_target_where_that_is_wanted(shorten, length):
    way = step_vectors(points((3, 4)), points((3.5, 4)), DragSettings(step_px=2.0, shorten_step=shorten))
    assert way.norm().item() == pytest.approx(length)


@pytest.mark.parametrize("shorten", [True, False])
def test_a_point_at_its_target_stays(shorten):
    way = step_vectors(points((3, 4)), points((3, 4)), DragSettings(shorten_step=shorten))
    assert torch.equal(way, points((0, 0)))


def test_a_disc_is_centred_and_round():
    offsets, inside = disc(3.0)
    assert offsets.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert inside.sum() == 29
    assert torch.equal(inside, inside.flip(0))
    assert inside[0, 0] == 0


def test_the_loss_is_the_change_over_one_step():
    loss = motion_loss(ramp(0.5), points((10, 10)), points((2, 0)), radius_px=3.0, reduction="mean")
    assert loss.item() == pytest.approx(1.0)


def test_a_sum_counts_every_pixel_of_the_disc():
    loss = motion_loss(ramp(0.5), points((10, 10)), points((2, 0)), radius_px=3.0, reduction="sum")
    assert loss.item() == pytest.approx(29.0)


def test_discs_are_summed():
    both = motion_loss(ramp(), points((10, 10), (20, 8)), points((2, 0), (1, 0)), radius_px=1.0, reduction="mean")
    assert both.item() == pytest.approx(3.0)


def test_only_the_places_one_step_on_are_changed():
    part = ramp()
    loss = motion_loss(part, points((10, 16)), points((4, 0)), radius_px=0.0, reduction="sum")
    (grad,) = torch.autograd.grad(loss, part.values)
    assert grad.nonzero().tolist() == [[0, 16, 14]]
    assert math.copysign(1, grad[0, 16, 14].item()) == 1  # lowering what is there brings it nearer to what is here


@pytest.mark.parametrize(("points", "most"), [(1, 255), (5, 113), (68, 30), (500, 10)])
def test_discs_that_no_memory_holds_are_refused(points, most):
    check_discs(points, float(most))
    with pytest.raises(RangeError, match=f"radius_px {most + 1}: allowed for {points} points is 0 to {most}"):
        check_discs(points, most + 1.0)
