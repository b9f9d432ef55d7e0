"""Opening photos, placing the square, cutting it out, and finding faces."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.drag.invert.align import Placement, align, find_face, open_photo, square_of
from trimtab.drag.invert.finder_net import WEIGHTS

POINTS = torch.tensor([[40.0, 50.0], [60.0, 50.0], [50.0, 62.0], [42.0, 75.0], [58.0, 75.0]])


def encoded(image: Image.Image, kind: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 120, height: int = 100) -> Image.Image:
    """Red grows to the right, green downwards."""
    across, down = Image.linear_gradient("L").rotate(90), Image.linear_gradient("L")
    bands = [across.resize((width, height)), down.resize((width, height)), Image.new("L", (width, height))]
    return Image.merge("RGB", bands)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "gif", "tiff"])
def test_pictures_of_common_kinds_are_opened(kind):
    assert open_photo(encoded(gradient(), kind)).size == (120, 100)


def test_a_photo_is_turned_as_its_camera_was_held():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    assert open_photo(encoded(gradient(), "jpeg", exif=exif.tobytes())).size == (100, 120)


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_way_to_hold_a_camera_is_known(kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    content = encoded(gradient(), kind, exif=exif.tobytes())
    with Image.open(io.BytesIO(content)) as plain:
        upright = ImageOps.exif_transpose(plain).convert("RGB")
    assert np.array_equal(np.asarray(open_photo(content)), np.asarray(upright))


def test_a_photo_whose_exif_is_damaged_is_taken_as_it_is():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x8769] = 6, "hello", {0x9003: "2020:01:01"}
    content = encoded(gradient(), "jpeg", exif=exif.tobytes())
    sizes = set()
    first = content.index(b"Exif") + 6
    for place in range(first, first + len(exif.tobytes()) - 6):
        for value in (0, 2, 255):
            damaged = bytearray(content)
            damaged[place] = value
            sizes.add(open_photo(bytes(damaged)).size)
    assert sizes == {(120, 100), (100, 120)}


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_photo_becomes_red_green_and_blue(mode):
    assert open_photo(encoded(gradient().convert(mode), "tiff")).mode == "RGB"


def test_a_file_is_opened_by_its_path(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(gradient()))
    assert open_photo(tmp_path / "a.png").size == (120, 100)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"none\.jpg: no such file"):
        open_photo(tmp_path / "none.jpg")


@pytest.mark.parametrize("data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(FormatError, match="is no picture that can be read whole"):
        open_photo(data)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_truncated_picture_is_refused(kind):
    data = encoded(Image.effect_noise((200, 200), 90).convert("RGB"), kind)
    with pytest.raises(FormatError, match="is no picture that can be read whole"):
        open_photo(data[: len(data) // 2])


@pytest.mark.parametrize("side", [7200, 14_200], ids=["52 megapixels", "202 megapixels"])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(side, monkeypatch):
    data = encoded(Image.new("1", (side, side)))
    monkeypatch.setattr(Image.Image, "convert", None)  # nothing may be decoded
    with pytest.raises(RangeError, match="50,000,000 are the most"):
        open_photo(data)


def test_a_picture_of_too_few_pixels_is_refused():
    with pytest.raises(RangeError, match="15 x 40 pixels; 16 are the fewest"):
        open_photo(encoded(gradient(15, 40)))


def test_the_square_is_four_times_as_wide_as_the_eyes_are_apart_or_more():
    square = square_of(POINTS)
    assert square.size == pytest.approx(max(4 * 20, 3.6 * 25))
    assert (square.x, square.y) == pytest.approx((50, 52.5))
    assert square.angle == 0


def test_a_turned_face_has_a_turned_square():
    turn = math.radians(20)
    cos, sin = math.cos(turn), math.sin(turn)
    square = square_of(POINTS @ torch.tensor([[cos, sin], [-sin, cos]]))
    assert square.angle == pytest.approx(20, abs=1e-4)
    assert square.size == pytest.approx(90, rel=1e-5)


def test_a_square_of_the_whole_photo_is_the_photo():
    photo = gradient(64, 64)
    made = align(photo, Placement(32, 32, 64), 64)
    wanted = torch.frombuffer(bytearray(photo.tobytes()), dtype=torch.uint8).reshape(64, 64, 3).permute(2, 0, 1)
    assert (made[0] - (wanted / 127.5 - 1)).abs()[:, 2:-2, 2:-2].max() < 0.02


def test_a_square_is_cut_where_it_lies():
    photo = gradient(200, 100)
    photo.paste((0, 0, 255), (119, 39, 141, 61))
    made = align(photo, Placement(130, 50, 20), 16)
    assert (made[0, 2, 1:-1, 1:-1] > 0.99).all()


def test_a_square_that_is_turned_by_a_quarter_turns_the_picture_back():
    upright, turned = (align(gradient(64, 64), Placement(32, 32, 64, angle), 32) for angle in (0, 90))
    assert (turned - upright.rot90(1, (2, 3))).abs().max() < 0.02


def test_outside_the_photo_is_its_mirror_image():
    made = align(gradient(64, 64), Placement(0, 32, 64), 64)
    assert (made - made.flip(3)).abs().max() < 0.02


SQUARES = [
    (Placement(-1, 3, 20), "outside the photo"),
    (Placement(3, 101, 20), "outside the photo"),
    (Placement(3, 3, 4), "allowed is 8 to 360"),
    (Placement(3, 3, 1e9), "allowed is 8 to 360"),
    (Placement(3, 3, 20, 270), "-180 to 180"),
    (Placement(3, math.nan, 20), "finite"),
]


@pytest.mark.parametrize(("square", "said"), SQUARES)
def test_a_square_that_has_nothing_to_do_with_the_photo_is_refused(square, said):
    with pytest.raises(RangeError, match=said):
        align(gradient(), square, 16)


def noise() -> Image.Image:
    return Image.effect_noise((300, 300), 60).convert("RGB")


def text() -> Image.Image:
    page = Image.new("RGB", (400, 300), "white")
    for line in range(12):
        ImageDraw.Draw(page).text((10, 10 + 24 * line), "The quick brown fox jumps over the lazy dog", "black")
    return page


def landscape() -> Image.Image:
    view = gradient(500, 300)
    ImageDraw.Draw(view).polygon([(0, 300), (120, 120), (260, 240), (400, 90), (500, 300)], (40, 80, 50))
    return view


@pytest.mark.parametrize("make", [noise, text, landscape, gradient], ids=lambda make: make.__name__)
def test_a_photo_without_a_face_says_so(make):
    with pytest.raises(RangeError, match=r"no face found in the photo\. Place the square by hand"):
        find_face(make())


def test_the_network_is_small():
    assert WEIGHTS.stat().st_size < 150_000
