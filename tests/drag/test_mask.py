"""Masks: read, checked, at the resolution of a map."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.drag.mask import check_mask, ellipse, mask_loss, read_mask


def picture(path, *, size: int = 32, light: tuple[int, int, int, int] = (8, 4, 24, 20), mode: str = "L"):
    image = Image.new(mode, (size, size), 0)
    image.paste("white" if mode != "L" else 255, light)
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1"])
def test_white_is_movable(tmp_path, mode):
    mask = read_mask(picture(tmp_path / "m.png", mode=mode), 32)
    assert mask.movable.sum() == 16 * 16
    assert mask.movable[4, 8]
    assert not mask.movable[3, 8]


def test_a_map_pixel_holds_the_movable_share():
    movable = torch.zeros(32, 32, dtype=torch.bool)
    movable[:, :6] = True
    assert check_mask(movable, 32).at(8)[0, 0, 0].tolist() == [1, 0.5, 0, 0, 0, 0, 0, 0]


def test_the_soft_edge_lies_inside():
    movable = torch.zeros(32, 32, dtype=torch.bool)
    movable[:, 8:] = True
    row = check_mask(movable, 32).soft_at(8)[0, 0, 3]
    assert row[:2].tolist() == [0, 0]
    assert 0 < row[2] < 1
    assert row[4:].tolist() == [1] * 4


def test_an_ellipse_is_as_wide_and_as_high_as_asked():
    movable = ellipse(32, (16, 10), (6, 3)).movable
    assert movable.any(dim=0).nonzero().flatten().tolist() == list(range(10, 23))
    assert movable.any(dim=1).nonzero().flatten().tolist() == list(range(7, 14))


def test_an_ellipse_outside_the_picture_is_refused():
    with pytest.raises(RangeError, match="ellipse is empty"):
        ellipse(32, (80, 80), (6, 3))


def test_a_mean_is_over_all_values_and_a_sum_over_the_pixels_of_the_picture():
    start, now, fixed = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)
    fixed[..., :4] = 1
    assert mask_loss(now, start, fixed, resolution=32, reduction="mean") == 0.5
    assert mask_loss(now, start, fixed, resolution=32, reduction="sum") == 3 * 32 * 16


def test_an_empty_mask_is_refused(tmp_path):
    with pytest.raises(RangeError, match="nothing may move"):
        read_mask(picture(tmp_path / "m.png", light=(0, 0, 0, 0)), 32)


def test_a_mask_of_another_size_is_refused(tmp_path):
    with pytest.raises(RangeError, match="has 16 x 16 pixels; expected are 32 x 32"):
        read_mask(picture(tmp_path / "m.png", size=16), 32)


def test_a_mask_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(MissingError, match="no such file"):
        read_mask(tmp_path / "none.png", 32)


@pytest.mark.parametrize("content", [b"", b"no picture", "half"])
def test_a_file_that_is_no_whole_picture_is_refused(tmp_path, content):
    path = picture(tmp_path / "m.png")
    path.write_bytes(path.read_bytes()[:60] if content == "half" else content)
    with pytest.raises(FormatError, match="no picture that can be read"):
        read_mask(path, 32)


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (20_000, 10_000)).save(tmp_path / "m.png")
    with pytest.raises(RangeError, match="16,777,216 are the most"):
        read_mask(tmp_path / "m.png", 32)
