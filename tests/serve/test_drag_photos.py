"""Photos by HTTP: opened, placed, made a generator's picture, kept; and what is no photo."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import struct
import weakref
import zlib

import numpy as np
import pytest
from PIL import Image

import live_drag
from live_drag import NAME, dragging, export, line
from serving import eventually
from trimtab.drag.invert.align import open_photo
from trimtab.drag.invert.settings import InvertSettings
from trimtab.drag.invert.stored import WORKING_NAME
from trimtab.drag.stored import replay
from trimtab.models.stylegan.load import load_generator
from trimtab.serve.drag.messages import Place
from trimtab.serve.drag.photos import MOST_HELD, Held
from trimtab.serve.drag.portraits import FOLDER, read_facts

BINARY = {"Content-Type": "application/octet-stream"}
LONG = InvertSettings(guesses=4, style_steps=1000, look_every=2)
SQUARE = {"generator": NAME, "x": 60.0, "y": 50.0, "size": 80.0, "angle": 10.0}


def photo(kind: str = "PNG") -> bytes:
    """Give a picture without a face."""
    slope = np.linspace(0, 255, 120 * 100 * 3).reshape(100, 120, 3).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(slope).save(buffer, format=kind)
    return buffer.getvalue()


def huge() -> bytes:
    """Give the head of a picture of 200 million pixels."""
    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + photo()[33:]


def send(running, content: bytes | None = None):
    with running.http() as http:
        return http.post("/api/drag/photos", content=content or photo(), headers=BINARY)


def place(running, **changes):
    with running.http() as http:
        key = send(running).json()["photo"]
        return http.post(f"/api/drag/photos/{key}", json=SQUARE | changes)


@pytest.fixture(scope="module")
def inverted(running):
    """A photo that was made a picture of the generator; gives its key and what was told meanwhile."""
    key = place(running).json()["key"]
    told = []
    with line(running, key) as page:
        while not told or told[-1]["state"] in ("loading", "inverting"):
            told.append(page.take())
    return key, told


def test_a_photo_without_a_face_is_to_be_placed_by_hand(running):
    found = send(running).json()
    assert (found["width"], found["height"], found["placement"]) == (120, 100, None)
    assert "by hand" in found["note"]


def test_a_photo_is_shown_as_it_was_understood(running):
    key = send(running).json()["photo"]
    with running.http() as http, Image.open(io.BytesIO(http.get(f"/api/drag/photos/{key}").content)) as shown:
        assert (shown.format, shown.size) == ("JPEG", (120, 100))


def test_a_large_photo_is_shown_small(running):
    buffer = io.BytesIO()
    Image.new("RGB", (3000, 1500)).save(buffer, format="PNG")
    key = send(running, buffer.getvalue()).json()["photo"]
    with running.http() as http, Image.open(io.BytesIO(http.get(f"/api/drag/photos/{key}").content)) as shown:
        assert shown.size == (1024, 512)


def test_a_photo_is_not_held_by_the_drag_that_was_made_of_it(tmp_path):
    desks = live_drag.desks(tmp_path)
    held = Held(open_photo(photo()), "0" * 64, b"")
    known = weakref.ref(held.photo)
    desk = desks.invert(held, Place(**SQUARE))
    del held
    assert eventually(lambda: desk.status()["state"] in ("inverting", "idle"), 20)
    gc.collect()
    assert known() is None
    desks.close()


WRONG = [
    (b"not a picture", 422, "no picture"),
    (photo("JPEG")[:-900], 422, "no picture that can be read whole"),
    (photo()[:200], 422, "no picture that can be read whole"),
    (huge(), 400, "pixels; 50,000,000 are the most"),
]


@pytest.mark.parametrize(("content", "status", "said"), WRONG)
def test_what_is_no_photo_is_told(running, content, status, said):
    reply = send(running, content)
    assert (reply.status_code, said in reply.json()["error"]["message"]) == (status, True)


def test_a_photo_may_be_larger_than_other_bodies_but_not_without_end(running):
    assert send(running, photo() + bytes(2 << 20)).status_code == 201
    assert send(running, bytes((48 << 20) + 1)).status_code == 413


@pytest.mark.parametrize("changes", [{"x": -1.0}, {"size": 1.0}, {"size": 0.0}, {"angle": 200.0}, {"more": 1}])
def test_a_square_that_has_nothing_to_do_with_the_photo_is_told(running, changes):
    assert place(running, **changes).status_code == 400


def test_a_generator_that_is_not_there_is_told(running):
    assert place(running, generator="none").status_code == 404


def test_only_the_last_photos_are_held(running):
    first = send(running).json()["photo"]
    for _ in range(MOST_HELD):
        send(running)
    with running.http() as http:
        reply = http.post(f"/api/drag/photos/{first}", json=SQUARE)
    assert (reply.status_code, "Choose it again" in reply.text) == (404, True)


def test_the_work_is_told_with_pictures(inverted):
    _, told = inverted
    progress = [parcel["progress"] for parcel in told if parcel["state"] == "inverting"]
    assert [one["done"] for one in progress if one["what"].startswith("Looking")]
    assert any(frame.width == 64 for parcel in told for frame in parcel.frames)
    assert all(one["done"] <= one["of"] and one.get("psnr_db", 1) > 0 for one in progress)


def test_the_result_says_how_near_it_is(inverted):
    portrait = inverted[1][-1]["portrait"]
    assert portrait["strength"] == 1.0
    assert portrait["psnr_db"] > portrait["psnr_styles_db"] > 5


def test_a_photo_can_be_dragged_and_undone_to_the_byte(running, inverted):
    key, _ = inverted
    before = export(running, key)
    with line(running, key) as page:
        page.open()
        page.say(do="step", points=[[30.0, 30.0, 50.0, 50.0]])
        moved = page.rest()
        assert export(running, key) != before
        page.say(do="go_to", moment=moved["moment"] - 2)
        page.until(lambda parcel: parcel["moment"] == moved["moment"] - 2)
    assert export(running, key) == before


def test_strength_shows_the_start_anew_and_keeps_every_moment(running, root, inverted):
    key, _ = inverted
    full = export(running, key)
    with line(running, key) as page:
        page.open()
        page.say(do="step", points=[[30.0, 30.0, 50.0, 50.0]])
        moments = page.rest()["moments"]
        page.say(do="strength", value=0.0)
        bare = page.until(lambda parcel: parcel["portrait"]["strength"] == 0.0)
        assert bare["moments"] == moments
        assert any(frame.flags == 3 for frame in bare.frames)
        assert read_facts(root / "drags" / key).strength == 0.0
        page.say(do="go_to", moment=0)
        page.until(lambda parcel: parcel["moment"] == 0)
        assert export(running, key) != full
        page.say(do="strength", value=1.0)
        page.until(lambda parcel: parcel["portrait"]["strength"] == 1.0)
    assert export(running, key) == full


def test_its_recipe_names_the_photo_and_makes_the_latent_again(running, root, inverted):
    key, _ = inverted
    with line(running, key) as page:
        page.open()
        page.say(do="step", points=[[30.0, 30.0, 50.0, 50.0]])
        page.rest()
    start = json.loads(export(running, key, "recipe.json"))["start"]["photo"]
    assert (start["photo_sha256"], start["square"]) == (hashlib.sha256(photo()).hexdigest(), [60.0, 50.0, 80.0, 10.0])
    again = replay(root / "drags" / key, load_generator(root / NAME))
    latent = export(running, key, "latent.safetensors")
    assert again.w_plus.numpy().tobytes() == latent[-again.w_plus.numel() * 4 :]


def test_a_recipe_of_several_strengths_makes_the_latent_again(running, root, inverted):
    key, _ = inverted
    with line(running, key) as page:
        page.open()
        page.say(do="go_to", moment=0)
        page.say(do="step", points=[[30.0, 30.0, 50.0, 50.0]])
        page.until(lambda parcel: (parcel["moments"], parcel["step"]) == (3, 1))
        page.say(do="strength", value=0.5)
        page.until(lambda parcel: parcel["portrait"]["strength"] == 0.5)
        page.say(do="step")
        page.until(lambda parcel: parcel["step"] == 2)
        page.say(do="strength", value=1.0)
        page.until(lambda parcel: parcel["portrait"]["strength"] == 1.0)
        recipe = json.loads(export(running, key, "recipe.json"))
        assert recipe["edits"][0]["strengths"] == [[1.0, 1], [0.5, 1]]
        assert recipe["start"]["photo"]["strength"] == 1.0
        again = replay(root / "drags" / key, load_generator(root / NAME))
        latent = export(running, key, "latent.safetensors")
        assert again.w_plus.numpy().tobytes() == latent[-again.w_plus.numel() * 4 :]
        page.say(do="go_to", moment=0)
        page.until(lambda parcel: parcel["moment"] == 0)


def test_its_adapter_is_saved(running, root, inverted):
    key, _ = inverted
    assert (
        export(running, key, "adapter.safetensors")
        == (root / "drags" / key / FOLDER / "adapter.safetensors").read_bytes()
    )


def test_a_photo_that_is_put_away_half_done_is_listed_and_goes_on(tmp_path):
    with dragging(tmp_path, inversion=LONG) as first:
        key = place(first).json()["key"]
        with line(first, key) as page:
            page.until(lambda parcel: parcel["state"] == "inverting" and parcel["progress"]["done"] > 6)
    assert (tmp_path / "drags" / key / FOLDER / WORKING_NAME).is_file()
    with dragging(tmp_path, inversion=LONG) as second, second.http() as http:
        (one,) = http.get("/api/drag").json()["sessions"]
        assert (one["key"], one["seed"], one["steps"]) == (key, None, 0)
        with line(second, key) as page:
            assert page.until(lambda parcel: "psnr_db" in (parcel["progress"] or {}))["progress"]["done"] > 6


def test_a_photo_that_is_deleted_while_it_is_worked_on_leaves_nothing(running, root):
    key = place(running).json()["key"]
    with line(running, key) as page, running.http() as http:
        page.until(lambda parcel: parcel["state"] == "inverting")
        assert http.delete(f"/api/drag/sessions/{key}").status_code == 204
    assert eventually(lambda: not (root / "drags" / key).exists())
