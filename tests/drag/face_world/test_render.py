"""Drawn faces: symmetric, smooth in their numbers, the same bits in any company."""

from __future__ import annotations

import pytest
import torch

from faces import faces, with_values
from trimtab.core.errors import RangeError
from trimtab.drag.face_world import palette
from trimtab.drag.face_world.parameters import NAMES, RANGES, mirrored, normalised, parameters
from trimtab.drag.face_world.render import render


def test_a_latent_twice_as_long_is_the_same_face():
    z = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(parameters(normalised(z)), parameters(normalised(2 * z)))


def test_random_latents_fill_every_range():
    latents = normalised(torch.randn(4000, 32, generator=torch.Generator().manual_seed(0)))
    values = parameters(latents)
    for column, (least, most) in zip(values.T, RANGES.values(), strict=True):
        share = (column - least) / (most - least)
        assert share.min() > -1e-6
        assert share.max() < 1 + 1e-6
        assert abs(share.mean() - 0.5) < 0.03
        assert abs(share.std() - 12**-0.5) < 0.02


def test_a_mirrored_face_is_the_mirrored_picture():
    latents = faces(6)
    straight, turned = render(parameters(latents)), render(parameters(mirrored(latents)))
    torch.testing.assert_close(turned, straight.flip(3), atol=2e-4, rtol=0)


def test_a_face_has_the_same_bits_alone_and_among_others():
    values = parameters(faces(7))
    together = render(values)
    assert all(torch.equal(render(values[index : index + 1])[0], together[index]) for index in range(7))


def test_colours_are_within_their_bounds():
    pictures = render(parameters(faces(16)))
    assert pictures.abs().max() <= 1


def test_closed_eyes_show_no_white():
    values = with_values(parameters(faces(12)), eye_opening=0.0, mouth_opening=0.0)
    lightest = torch.tensor(palette.colour(palette.EYE_WHITE)) * 2 - 1
    difference = (render(values) - lightest[:, None, None]).abs().amax(dim=1)
    open_eyes = (render(with_values(values, eye_opening=1.0)) - lightest[:, None, None]).abs().amax(dim=1)
    assert difference.amin(dim=(1, 2)).min() > 0.1
    assert open_eyes.amin(dim=(1, 2)).median() < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_every_number_changes_the_picture(name):
    values = parameters(faces(8))
    least, most = (render(with_values(values, **{name: bound})) for bound in RANGES[name])
    assert (least - most).abs().amax(dim=(1, 2, 3)).max() > 0.1


@pytest.mark.parametrize("bound", [0, 1])
def test_gradients_are_finite_even_at_the_ends_of_every_range(bound):
    values = torch.tensor([[ends[bound] for ends in RANGES.values()]], requires_grad=True)
    render(values, supersampling=1).square().sum().backward()
    assert torch.isfinite(values.grad).all()


def test_gradients_agree_with_small_differences():
    """Shapes have edges of a pixel, so that the picture is differentiable nearly everywhere."""
    values = parameters(faces(1)).requires_grad_()
    weights = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def score(given):
        return float((render(given).double() * weights).sum())

    (grad,) = torch.autograd.grad((render(values) * weights).sum(), values)
    with torch.no_grad():
        for index, (least, most) in enumerate(RANGES.values()):
            step = torch.zeros(1, 32)
            step[0, index] = 1e-3 * (most - least)
            slope = (score(values + step) - score(values - step)) / (2 * 1e-3 * (most - least))
            assert slope == pytest.approx(float(grad[0, index]), rel=0.05, abs=0.02 * float(grad.abs().max()))


def test_a_larger_picture_is_the_same_face():
    values = parameters(faces(4))
    small, large = render(values), render(values, resolution=128)
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.02


@pytest.mark.parametrize(("resolution", "supersampling"), [(4, 2), (4096, 1), (64, 0), (64, 9)])
def test_sizes_that_cannot_be_drawn_are_refused(resolution, supersampling):
    with pytest.raises(RangeError, match="allowed are 8 to 2048 px"):
        render(parameters(faces(1)), resolution=resolution, supersampling=supersampling)
