"""Finding a point again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from trimtab.core.errors import RangeError
from trimtab.drag.sampling import Lattice, MapPart
from trimtab.drag.settings import DragSettings
from trimtab.drag.track import Found, Template, check_places, lost, make_template, track

SETTINGS = DragSettings(search_px=6.0, search_grid_px=1.0, radius_px=2.0, lost_ratio=1.0)


def texture(shift: tuple[int, int] = (0, 0)) -> MapPart:
    """A smooth random map of 48 px, moved by whole pixels to the right and down."""
    rough = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(2))
    smooth = F.interpolate(rough, size=(48, 48), mode="bicubic")[0]
    return MapPart(smooth.roll((shift[1], shift[0]), (1, 2)), Lattice(48, 48))


def points(*pairs: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(pairs, dtype=torch.float64)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("shift", [(0, 0), (3, 0), (-2, 5)])
def test_a_point_is_found_where_the_texture_went(norm, shift):
    settings, here = replace(SETTINGS, norm=norm), points((20, 22), (30, 17))
    template = make_template(texture(), here, settings)
    found = track(texture(shift), here, template, settings)
    torch.testing.assert_close(found.places, here + points(shift), atol=0.15, rtol=0)


def test_a_fraction_of_the_grid_is_found_by_the_parabola():
    coarse = replace(SETTINGS, search_grid_px=2.0)
    here = points((20, 22))
    template = make_template(texture(), here, coarse)
    errors = []
    for sub_pixel in (True, False):
        found = track(texture((1, 1)), here, template, replace(coarse, sub_pixel=sub_pixel))
        errors.append((found.places - points((21, 23))).norm().item())
    assert errors[0] < 0.5 * errors[1]


def test_whole_pixels_stay_whole_without_the_parabola():
    settings = replace(SETTINGS, sub_pixel=False)
    found = track(texture((2, 1)), points((20, 22)), make_template(texture(), points((20, 22)), settings), settings)
    assert found.places.tolist() == [[22.0, 23.0]]


def test_nothing_is_looked_for_outside_the_picture():
    """There the border goes on: it would look like the point itself, and to look so would be usual."""
    border = torch.ones(16).index_fill(0, torch.tensor([0]), 0.0)
    known = MapPart(border.expand(1, 16, 16), Lattice(16, 16))
    assert make_template(known, points((0, 8)), replace(SETTINGS, search_px=3.0)).usual.tolist() == [1.0]


def test_a_point_stays_in_the_picture():
    here = points((1, 46))
    found = track(texture((-9, 9)), here, make_template(texture(), here, SETTINGS), SETTINGS)
    assert found.places.min() >= 0
    assert found.places.max() <= 47


@pytest.mark.parametrize("search_px", [0.0, 0.4])
def test_where_no_place_is_tried_but_the_last_nothing_is_lost(search_px):
    """What is usual around a point is not known then."""
    settings, was = replace(SETTINGS, search_px=search_px, lost_ratio=1.3), torch.tensor([False])
    template = make_template(texture(), points((20, 22)), settings)
    found = track(texture((5, 0)), points((20, 22)), template, settings)
    assert lost(found, template, was, settings).tolist() == [False]


def test_more_places_than_fit_into_memory_are_refused():
    check_places(replace(SETTINGS, search_px=63.0))
    with pytest.raises(RangeError, match=r"search_px 512 on a search_grid_px of 0.05 is 419,471,361 places a point"):
        check_places(replace(SETTINGS, search_px=512.0, search_grid_px=0.05))


def test_many_points_are_found_like_each_alone():
    here = torch.rand(19, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 30 + 8
    template = make_template(texture(), here, SETTINGS)
    together = track(texture((2, 1)), here, template, SETTINGS)
    for index in range(19):
        one = slice(index, index + 1)
        alone = track(texture((2, 1)), here[one], Template(template.features[one], template.usual[one]), SETTINGS)
        torch.testing.assert_close(alone.places, together.places[one], atol=1e-4, rtol=0)


def test_a_point_of_which_nothing_is_left_is_lost():
    here, was = points((20, 22)), torch.tensor([False])
    template = make_template(texture(), here, SETTINGS)
    other = MapPart(texture().values + 5, texture().lattice)
    assert lost(track(other, here, template, SETTINGS), template, was, SETTINGS).tolist() == [True]
    assert lost(track(texture((1, 0)), here, template, SETTINGS), template, was, SETTINGS).tolist() == [False]


@pytest.mark.parametrize(
    ("distance", "before", "after"), [(0.95, False, False), (0.95, True, True), (0.85, True, False)]
)
def test_a_lost_point_must_come_closer_to_be_found_again(distance, before, after):
    found = Found(points((0, 0)), torch.tensor([distance], dtype=torch.float64))
    template = Template(torch.zeros(1, 2), torch.ones(1, dtype=torch.float64))
    assert lost(found, template, torch.tensor([before]), SETTINGS).tolist() == [after]


def test_a_ratio_of_nothing_loses_nothing():
    found = Found(points((0, 0)), torch.tensor([9.0], dtype=torch.float64))
    template = Template(torch.zeros(1, 2), torch.ones(1, dtype=torch.float64))
    assert not lost(found, template, torch.tensor([True]), replace(SETTINGS, lost_ratio=0.0)).any()
