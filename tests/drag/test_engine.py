"""Whole drags on small networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dragging import edit, net, start, wide
from trimtab.core.errors import RangeError
from trimtab.drag.edit import Edit, as_tensor
from trimtab.drag.engine import Engine, Frame
from trimtab.drag.mask import check_mask
from trimtab.drag.sampling import MapPart
from trimtab.nn.freeze import fingerprint

EASY = {"feature_size": 16, "search_px": 3.0}


def drag(engine: Engine, steps: int = 30) -> list[Frame]:
    frames = [engine.first()]
    while len(frames) <= steps and not engine.end(frames[-1]):
        frames.append(engine.advance(frames[-1]))
    return frames


def mask(movable: slice) -> torch.Tensor:
    """A mask of 64 px of which some columns are movable."""
    result = torch.zeros(64, 64, dtype=torch.bool)
    result[:, movable] = True
    return result


@pytest.mark.parametrize("seed", [0, 1])
def test_a_drag_brings_the_feature_to_its_target(seed):
    """Judged without the tracker: the start's feature is nearer to what is at the target than to what is elsewhere."""
    engine = Engine(net(), start(net(), seed), edit(net(), **EASY))
    frames = drag(engine, 40)
    assert engine.end(frames[-1]) == "arrived"
    wanted = MapPart(engine.start_features.values[0], engine.lattice).at(as_tensor(engine.edit.handles))
    after = MapPart(net().features(engine.w_plus(frames[-1].offsets), 16).values[0], engine.lattice)
    here, there = (
        (after.at(as_tensor(places)) - wanted).norm() for places in (engine.edit.handles, engine.edit.targets)
    )
    assert there < 0.8 * here


def test_without_tracking_a_drag_goes_elsewhere():
    tracked = drag(Engine(net(), start(net()), edit(net(), **EASY)), 8)
    blind = drag(Engine(net(), start(net()), edit(net(), **EASY | {"search_px": 0.0})), 8)
    assert torch.equal(blind[-1].points, blind[0].points)
    assert not torch.allclose(tracked[-1].offsets, blind[-1].offsets, atol=1e-3)


def test_only_free_groups_change():
    engine = Engine(net(), start(net()), edit(net(), **EASY, free_groups=3))
    frame = drag(engine, 3)[-1]
    changed = (engine.w_plus(frame.offsets) != engine.start).any(dim=2)[0]
    assert changed.tolist() == [True] * 3 + [False] * 7


def test_with_one_w_all_free_styles_change_alike():
    engine = Engine(net(), start(net()), edit(net(), **EASY, styles="w"))
    change = engine.w_plus(drag(engine, 3)[-1].offsets) - engine.start
    assert change[0, 0].abs().max() > 0
    torch.testing.assert_close(change[0, :6], change[0, :1].expand(6, -1))


def test_styles_above_the_map_stay_as_they_were():
    engine = Engine(net(), start(net()), edit(net(), **EASY, free_groups=10))
    change = engine.w_plus(drag(engine, 3)[-1].offsets) != engine.start
    assert change[0, :5].any(dim=1).all()
    assert not change[0, 5:].any()


@pytest.mark.parametrize("handles", [((60.0, 70.0),), ((40.0, 40.0), (70.0, 55.0)), ((3.0, 120.0),)])
def test_windows_give_the_path_of_the_whole_map(handles):
    targets = tuple((x + 5, y - 3) for x, y in handles)
    task = edit(wide(), handles=handles, targets=targets, feature_size=64, lr=0.005)
    ends = []
    for windowed in (True, False):
        engine = Engine(wide(), start(wide()), task, windowed=windowed)
        frames = drag(engine, 5)
        assert (engine.features(frames[-1]).window is not None) == windowed
        ends.append(frames[-1])
    torch.testing.assert_close(ends[0].points, ends[1].points, atol=1e-5, rtol=0)
    torch.testing.assert_close(ends[0].offsets, ends[1].offsets, atol=1e-6, rtol=0)


def test_a_mask_needs_the_whole_map():
    engine = Engine(net(), start(net()), edit(net(), mask=check_mask(mask(slice(20, 50)), 64), feature_size=64))
    assert engine.features(drag(engine, 1)[-1]).window is None


def test_a_mask_holds_what_is_outside():
    plain = edit(net(), **EASY, mask_weight=20.0)
    masked = replace(plain, mask=check_mask(mask(slice(16, 48)), 64))
    changes = []
    for task in (plain, masked):
        engine = Engine(net(), start(net()), task)
        frame = drag(engine, 6)[-1]
        changed = (net().features(engine.w_plus(frame.offsets), 16).values - engine.start_features.values).abs()
        changes.append(changed[..., :4].mean().item())
    assert changes[1] < 0.7 * changes[0]


def test_lost_points_pause_and_the_others_go_on():
    task = edit(net(), handles=((30.0, 30.0), (10.0, 50.0)), targets=((34.0, 30.0), (14.0, 50.0)), **EASY)
    engine = Engine(net(), start(net()), task)
    one_lost = replace(engine.first(), lost=torch.tensor([False, True]))
    alone = Engine(net(), start(net()), edit(net(), **EASY))
    torch.testing.assert_close(engine.advance(one_lost).offsets, alone.advance(alone.first()).offsets)


def test_a_drag_ends_when_all_that_have_not_arrived_are_lost():
    engine = Engine(net(), start(net()), edit(net(), **EASY))
    gone = replace(engine.first(), lost=torch.tensor([True]))
    assert engine.end(gone) == "lost"
    with pytest.raises(RangeError, match="no point can be pulled"):
        engine.advance(gone)


def test_a_lost_point_stays_where_it_was_seen():
    engine = Engine(net(), start(net()), edit(net(), **EASY, lost_ratio=1e-6))
    frame = engine.advance(engine.first())
    assert frame.lost.tolist() == [True]
    assert frame.points.tolist() == [[30.0, 30.0]]


def test_a_frame_gives_the_same_next_one_whatever_was_computed_between():
    engine = Engine(net(), start(net()), edit(net(), **EASY))
    frames = drag(engine, 4)
    again = engine.advance(frames[1])
    assert torch.equal(again.offsets, frames[2].offsets)
    assert torch.equal(again.points, frames[2].points)


def test_the_generator_does_not_change():
    before = fingerprint(net())
    drag(Engine(net(), start(net()), edit(net(), **EASY)), 3)
    assert fingerprint(net()) == before


def test_a_drag_ends_after_its_steps():
    engine = Engine(net(), start(net()), edit(net(), **EASY, lr=1e-6, max_steps=2))
    assert [engine.end(frame) for frame in drag(engine)] == ["", "", "steps"]


@pytest.mark.parametrize(("norm", "end"), [("straight", ""), ("coordinate", "arrived")])
def test_arrival_is_judged_along_a_line_or_by_coordinates(norm, end):
    task = edit(net(), targets=((31.5, 31.5),), stop_px=2.0, distance=norm, feature_size=16)
    assert Engine(net(), start(net()), task).end(Engine(net(), start(net()), task).first()) == end


WRONG = [
    ({"targets": ()}, "1 handles and 0 targets"),
    ({"handles": (), "targets": ()}, "allowed are 1 to"),
    ({"handles": ((64.0, 3.0),)}, "handle 64,3 lies outside the picture. Allowed is 0 to 63"),
    ({"targets": ((3.0, -1.0),)}, "target 3,-1 lies outside"),
    ({"handles": ((float("nan"), 3.0),)}, "outside"),
    ({"feature_size": 24}, "feature_size 24: allowed for this generator are 4, 8, 16, 32, 64"),
    ({"free_groups": 11}, "free_groups 11: allowed is 1 to 10"),
    ({"search_px": 64.0, "search_grid_px": 0.05}, "places a point; allowed are 16,384. Widen the grid"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG)
def test_what_does_not_fit_the_generator_is_refused(changes, said):
    with pytest.raises(RangeError, match=said):
        Engine(net(), start(net()), edit(net(), **changes))


def test_a_mask_of_another_generator_is_refused():
    small = check_mask(torch.ones(32, 32, dtype=torch.bool), 32)
    with pytest.raises(RangeError, match="mask has 32 rows"):
        Engine(net(), start(net()), Edit(((3.0, 3.0),), ((4.0, 3.0),), edit(net()).settings, small))
