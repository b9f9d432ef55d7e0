"""Sessions: going back and on, and what masks keep between edits."""

from __future__ import annotations

import pytest
import torch

from drag_sessions import columns, half, masked, outside, png_hash, same, session
from dragging import edit, net, start
from trimtab.core.errors import RangeError
from trimtab.drag.mask import check_mask
from trimtab.drag.session import Place, Session


def test_undo_gives_the_same_picture_to_the_byte(tmp_path):
    made = session(steps=1)
    before = png_hash(made, tmp_path / "a.png")
    made.advance()
    assert png_hash(made, tmp_path / "b.png") != before
    assert made.undo()
    assert png_hash(made, tmp_path / "c.png") == before


def test_redo_brings_back_what_was_undone():
    made = session()
    last = made.frame
    assert made.undo()
    assert made.undo()
    assert made.redo()
    assert made.redo()
    assert made.frame is last
    assert not made.redo()


def test_everything_can_be_undone():
    made = session(steps=2)
    while made.undo():
        pass
    assert made.place is None
    assert torch.equal(made.w_plus, made.start)


def test_a_step_after_undo_forgets_what_was_undone_and_is_the_same_step():
    made = session(steps=3)
    third = made.frame
    made.undo()
    made.undo()
    made.advance()
    assert same(made.advance(), third)
    assert not made.redo()


def test_an_edit_goes_on_from_the_picture_before_it():
    made = session(steps=2)
    styles = made.w_plus
    made.begin(edit(net(), feature_size=16, handles=((10.0, 40.0),), targets=((10.0, 44.0),)))
    assert torch.equal(made.w_plus, styles)
    made.advance()
    assert made.place == Place(1, 1)
    made.go_to(Place(0, 0))
    assert torch.equal(made.w_plus, made.start)


def test_a_moment_that_is_not_there_is_refused():
    with pytest.raises(RangeError, match="no such moment"):
        session().go_to(Place(0, 9))


def test_a_step_before_any_edit_is_refused():
    with pytest.raises(RangeError, match="no edit was begun"):
        Session(net(), start(net())).advance()


def test_a_picture_of_another_moment_is_made_without_going_there():
    made = session(steps=2)
    last = made.place
    seen = [made.picture_at(place) for place in (None, *made.places())]
    assert made.place == last
    for picture in reversed(seen):
        assert torch.equal(picture, made.picture())
        made.undo()


def test_a_mask_keeps_the_picture_outside():
    """Where nothing that is movable reaches, not one byte differs; without keeping, much does."""
    changes = []
    for keep in (True, False):
        made = session(steps=4, mask=check_mask(half(), 64), keep=keep, mask_weight=0.0)
        now = made.picture()
        made.go_to(Place(0, 0))
        changes.append((now - made.picture()).abs()[..., :4].max().item())
    assert changes[0] == 0
    assert changes[1] > 0.01


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("mask", [None, columns(8, 30)])
def test_what_a_mask_kept_is_there_when_the_next_edit_begins(size, mask):
    made = masked()
    before = made.picture()
    assert outside(net().image(made.w_plus), before) > 0.01
    given = None if mask is None else check_mask(mask, 64)
    made.begin(edit(net(), feature_size=size, mask=given))
    assert torch.equal(made.picture(), before)


def test_what_a_mask_kept_moves_with_the_next_edit_that_has_none():
    made = masked()
    before = made.picture()
    made.begin(edit(net(), feature_size=16, handles=((4.0, 40.0),), targets=((4.0, 46.0),)))
    for _ in range(3):
        made.advance()
    assert outside(made.picture(), before) > 0.01


def test_a_point_is_known_by_what_is_shown_under_it():
    """Where a mask kept the start, a handle has the start's feature and not that of the styles."""
    made = masked()
    handle = {"handles": ((2.0, 30.0),), "targets": ((6.0, 30.0),)}
    made.begin(edit(net(), feature_size=16, **handle))
    known = Session(net(), made.start)
    known.begin(edit(net(), feature_size=16, **handle))
    assert torch.equal(made.take.engine.features(made.frame).values, made.take.engine.start_features.values)
    assert torch.equal(made.take.engine.start_features.values[..., 0], known.take.engine.start_features.values[..., 0])


def test_inside_a_mask_the_picture_is_that_of_the_styles():
    made = session(steps=4, mask=check_mask(columns(4, 60), 64), mask_weight=0.0)
    middle = (made.picture() - net().image(made.w_plus))[..., 31:33]
    assert middle.abs().max() < 1e-5


def test_the_preview_is_kept_too():
    made = session(steps=3, mask=check_mask(half(), 64), mask_weight=0.0)
    now = made.preview()
    made.go_to(Place(0, 0))
    assert torch.equal(now[..., :2], made.preview()[..., :2])
