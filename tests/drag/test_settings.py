"""Settings: named sets, limits, words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trimtab.core.errors import RangeError
from trimtab.drag.settings import MANY_POINTS, PRESETS, DragSettings, preset, read_change, read_settings

ALL = (4, 8, 16, 32, 64, 128, 256, 512)


def named(name: str, resolution: int = 512, **rest) -> DragSettings:
    return preset(name, resolution=resolution, feature_sizes=[size for size in ALL if size <= resolution], **rest)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("paper", {"norm": "l1", "loss": "sum", "radius_px": 3, "search_px": 12, "mask_weight": 20, "max_steps": 300}),
        ("official", {"norm": "l2", "loss": "mean", "feature_size": 128, "lr": 1e-3, "push_px": 1, "stop_px": 2}),
        ("unofficial", {"feature_size": 256, "align_corners": True, "mask_weight": 0, "distance": "coordinate"}),
        ("trimtab", {"sub_pixel": True, "directions": "natural", "shorten_step": True, "keep": True}),
    ],
)
def test_a_preset_is_what_was_published(name, expected):
    settings = named(name)
    assert {key: getattr(settings, key) for key in expected} == expected


@pytest.mark.parametrize("name", ["paper", "official", "unofficial"])
def test_what_was_published_tracks_whole_pixels_and_pastes_nothing(name):
    settings = named(name)
    assert not settings.sub_pixel
    assert not settings.keep
    assert settings.lost_ratio == 0
    assert settings.step_px == settings.search_grid_px == 1


@pytest.mark.parametrize(
    ("resolution", "radius", "search", "stop"), [(256, 2, 6, 2), (512, 3, 12, 2), (1024, 6, 24, 4)]
)
def test_official_lengths_grow_with_the_picture(resolution, radius, search, stop):
    settings = named("official", resolution)
    assert (settings.radius_px, settings.search_px, settings.stop_px) == (radius, search, stop)


@pytest.mark.parametrize(("points", "stop"), [(1, 1), (5, 1), (6, 2)])
def test_the_paper_stops_earlier_for_few_points(points, stop):
    assert named("paper", points=points).stop_px == stop


def test_own_lengths_are_those_of_1024_px_scaled():
    large, half = named("trimtab", 1024), named("trimtab", 512)
    assert (large.search_px, half.search_px) == (24, 12)
    assert (large.feature_size, half.feature_size) == (64, 64)


def test_a_preset_takes_the_next_lower_features_where_its_own_are_missing():
    assert preset("unofficial", resolution=64, feature_sizes=(4, 8, 16, 32, 64)).feature_size == 64


def test_an_unknown_preset_is_refused_with_a_near_one():
    with pytest.raises(RangeError, match="Did you mean 'official'"):
        named("oficial")


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("resolution", [32, 64, 256, 1024])
def test_settings_come_back_from_json(name, resolution):
    settings = named(name, resolution)
    assert read_settings(settings.to_json()) == settings


WRONG = [
    ({"lr": 0.0}, "lr 0"),
    ({"lr": float("nan")}, "lr nan"),
    ({"max_steps": 0}, "max_steps 0"),
    ({"push_px": 3.0}, "push_px 3: allowed is 0 to stop_px"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG)
def test_a_value_outside_what_is_allowed_is_refused(changes, said):
    with pytest.raises(RangeError, match=said):
        DragSettings(**changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"radus": 1}, "radius_px"),
        ({"norm": "l3"}, "norm 'l3': allowed are l1, l2"),
        ({"lr": "much"}, "lr is 'much'"),
        ({"keep": 1}, "keep is 1; expected is bool"),
    ],
)
def test_a_document_is_read_strictly(change, said):
    with pytest.raises(RangeError, match=said):
        read_settings(DragSettings().to_json() | change)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("lr=1e-3", ("lr", 1e-3)),
        ("keep=false", ("keep", False)),
        ("max_steps=7", ("max_steps", 7)),
        ("norm=l1", ("norm", "l1")),
    ],
)
def test_a_single_setting_is_read_from_a_word(word, expected):
    assert read_change(word) == expected


@pytest.mark.parametrize("word", ["lr", "lr=fast", "keep=1", "max_steps=1.5", "lrr=1"])
def test_a_wrong_word_is_refused(word):
    with pytest.raises(RangeError, match=r"--set|unknown setting"):
        read_change(word)


def test_many_points_are_pulled_along_plain_directions():
    few, many = (named("trimtab", 1024, points=points) for points in (MANY_POINTS - 1, MANY_POINTS))
    assert (few.directions, few.free_groups) == ("natural", 8)
    assert (many.directions, many.free_groups) == ("plain", 6)
    assert many == replace(few, directions="plain", lr=many.lr, free_groups=6)
    assert many.lr < few.lr
