"""The sheet of edits: what is where."""

from __future__ import annotations

from PIL import Image

from trimtab.drag.contact_sheet import GAP, HANDLE, PAPER, SIDE, TARGET, TITLE, SheetEdit, contact_sheet

RED, GREEN = (200, 10, 10), (10, 200, 10)


def edit(*ways):
    handles, targets = zip(*ways, strict=True)
    pictures = (Image.new("RGB", (640, 640), colour) for colour in (RED, GREEN))
    return SheetEdit("an edit", *pictures, handles, targets)


def test_edits_stand_side_by_side_with_before_above_after():
    sheet = contact_sheet([edit(((0, 0), (0, 0)))] * 3)
    assert sheet.size == (GAP + 3 * (SIDE + GAP), TITLE + 2 * (SIDE + GAP))
    for index in range(3):
        middle = GAP + index * (SIDE + GAP) + SIDE // 2
        assert sheet.getpixel((middle, TITLE + SIDE // 2)) == RED
        assert sheet.getpixel((middle, TITLE + SIDE + GAP + SIDE // 2)) == GREEN


def test_points_are_drawn_on_the_picture_before_at_its_scale():
    sheet = contact_sheet([edit(((100, 200), (400, 500)))])
    assert sheet.getpixel((GAP + 50, TITLE + 100)) == HANDLE
    assert sheet.getpixel((GAP + 200, TITLE + 250)) == TARGET
    assert sheet.getpixel((GAP + 125, TITLE + 175)) == TARGET  # the way between
    assert sheet.getpixel((GAP + 50, TITLE + SIDE + GAP + 100)) == GREEN


def test_a_point_that_stays_is_a_handle():
    assert contact_sheet([edit(((320, 320), (320, 320)))]).getpixel((GAP + 160, TITLE + 160)) == HANDLE


def test_every_edit_has_its_title():
    above = contact_sheet([edit(((0, 0), (0, 0)))]).crop((0, 0, GAP + SIDE, TITLE - 8))
    assert above.getcolors(4096) != [(above.width * above.height, PAPER)]
