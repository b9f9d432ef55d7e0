"""From pictures back to faces."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from faces import faces, with_values
from trimtab.core.errors import NonFiniteError, RangeError
from trimtab.drag.face_world.fit import Fit, FitSettings, fit_faces
from trimtab.drag.face_world.landmarks import landmarks
from trimtab.drag.face_world.parameters import parameters
from trimtab.drag.face_world.render import render


@cache
def edited() -> tuple[torch.Tensor, Fit]:
    """Give the numbers of faces that were changed visibly, and the fit to their pictures from the unchanged ones."""
    start = faces(4, seed=4)
    moved = 0.75 * start + 0.4 * faces(4, seed=5)
    return parameters(moved), fit_faces(render(parameters(moved)), start=start)


def test_a_fit_finds_the_landmarks_of_a_picture_that_was_drawn():
    values, fit = edited()
    distance = (fit.landmarks - landmarks(values, resolution=64)).norm(dim=2)
    assert distance.mean() < 0.3


def test_the_start_was_far_from_what_was_found():
    values, _ = edited()
    start = landmarks(parameters(faces(4, seed=4)), resolution=64)
    assert (start - landmarks(values, resolution=64)).norm(dim=2).mean() > 1.5


def test_a_fit_to_a_drawn_picture_leaves_next_to_no_residual():
    assert edited()[1].residual.max() < 4


def test_a_picture_of_another_world_shows_by_its_residual():
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert fit_faces(noise, start=faces(1), settings=FitSettings(steps=10)).residual[0] > 40


def test_a_face_fitted_alone_is_found_as_among_others():
    start = faces(3, seed=4)
    pictures = render(parameters(faces(3, seed=5)))
    quick = FitSettings(steps=5)
    together = fit_faces(pictures, start=start, settings=quick)
    alone = fit_faces(pictures[1:2], start=start[1:2], settings=quick)
    torch.testing.assert_close(alone.latents[0], together.latents[1], atol=1e-3, rtol=0)


def test_a_closed_eye_is_found_closed():
    start = with_values(parameters(faces(1, seed=2)), eye_opening=0.0)
    fit = fit_faces(render(start), start=faces(1, seed=2))
    lids = fit.landmarks[0, 6:8]
    assert (lids[1] - lids[0]).norm() < 0.5


def test_pictures_that_are_not_square_are_refused():
    with pytest.raises(RangeError, match=r"\[1, 3, 64, 32\].*expected are square pictures and 32 numbers"):
        fit_faces(torch.zeros(1, 3, 64, 32), start=faces(1))


def test_what_is_no_number_is_refused():
    with pytest.raises(NonFiniteError, match="no numbers"):
        fit_faces(torch.full((1, 3, 64, 64), torch.nan), start=faces(1))


@pytest.mark.parametrize("change", [{"steps": 0}, {"lr": 0.0}, {"lr": 2.0}, {"tether": -1.0}])
def test_settings_that_cannot_be_are_refused(change):
    with pytest.raises(RangeError, match="allowed are"):
        FitSettings(**change)
