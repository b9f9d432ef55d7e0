"""A live drag over its socket: frames, one parcel at a time, history, and whatever a browser may do to it."""

from __future__ import annotations

import io
import json
import threading
import time
from contextlib import ExitStack

import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed

import live_drag
import serving
from live_drag import PULLS, begin, export, line
from serving import eventually
from trimtab.drag.session import Session
from trimtab.drag.stored import replay
from trimtab.models.stylegan.load import load_generator

FAR = [[10.0, 10.0, 50.0, 50.0]]


@pytest.fixture
def page(running, key):
    """A page that shows the first picture."""
    with line(running, key) as opened:
        opened.open()
        yield opened


def dragged(page, *, steps: int = 3, points=FAR):
    """Take some steps; give the parcel with the whole picture."""
    page.say(do="step", points=points)
    for _ in range(steps - 1):
        page.rest()
        page.say(do="step")
    return page.rest()


def test_the_first_picture_is_the_whole_one_before_any_edit(running, key):
    with line(running, key) as page:
        (frame,) = page.open().frames
    assert (frame.step, frame.flags, frame.width, frame.height) == (0, 3, 64, 64)
    with Image.open(io.BytesIO(frame.jpeg)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 64))


def test_every_step_comes_with_a_preview_and_the_end_with_the_whole_picture(page):
    page.say(do="start", points=FAR)
    steps = [page.until(lambda parcel: bool(parcel.frames)).frames[0] for _ in range(5)]
    page.say(do="pause")
    assert [frame.flags for frame in steps] == [0] * 5
    assert [frame.step for frame in steps] == sorted({frame.step for frame in steps})
    assert page.rest().frames[0].flags == 1


def test_a_drag_says_how_far_each_point_is(page):
    page.say(do="step", points=[*PULLS, [10.0, 40.0, 10.0, 46.0]])
    points = page.rest()["points"]
    assert [point["to"] for point in points] == [[36.0, 30.0], [10.0, 46.0]]
    assert all(point["left_px"] > 0 and point["lost"] in (True, False) for point in points)


def test_a_drag_moves_its_point(page):
    left = dragged(page, steps=6, points=PULLS)["points"][0]["left_px"]
    assert left < 5.9


def test_nothing_is_sent_before_the_last_parcel_was_acknowledged(page):
    page.say(do="start", points=FAR)
    first = page.look()
    with pytest.raises(TimeoutError):
        page.look(timeout_s=0.3)
    page.say(do="ack", parcel=first["parcel"])
    assert page.look()["parcel"] == first["parcel"] + 1


def test_the_newest_frame_wins(running, key, page):
    page.say(do="start", points=FAR)
    first = page.look()
    with running.http() as http:
        assert eventually(lambda: http.get(f"/api/drag/sessions/{key}").json()["step"] > first["step"] + 3, 20)
    page.say(do="ack", parcel=first["parcel"])
    second = page.take()
    assert len(second.frames) == 1
    assert second["step"] > first["step"] + 2
    page.say(do="pause")


def test_pause_ends_the_step_at_work_and_start_goes_on(page):
    page.say(do="start", points=FAR)
    page.until(lambda parcel: parcel["step"] > 2)
    page.say(do="pause")
    paused = page.rest()
    assert paused["edit"] == 0
    page.say(do="start")
    assert page.until(lambda parcel: parcel["step"] > paused["step"])["edit"] == 0
    page.say(do="pause")


def test_other_points_begin_another_edit(page):
    dragged(page, steps=2)
    page.say(do="step", points=PULLS)
    assert page.rest()["edit"] == 1


def test_going_on_after_the_limit_of_steps_raises_it(page, running):
    page.say(do="start", points=FAR)
    ended = page.until(lambda parcel: parcel["end"] != "")
    assert ended["end"] == "steps"
    page.say(do="step")
    assert page.until(lambda parcel: parcel["step"] > ended["step"])["end"] == ""


def test_undoing_everything_gives_the_very_bytes_of_the_start(running, key, page):
    before = export(running, key)
    moment = dragged(page)["moment"]
    assert export(running, key) != before
    for _ in range(moment):
        page.say(do="undo")
    assert page.until(lambda parcel: parcel["moment"] == 0)["points"][0]["at"] == [10.0, 10.0]
    assert export(running, key) == before


def test_an_undone_step_is_shown_at_once_and_then_whole(page):
    dragged(page)
    page.say(do="undo")
    shown = page.until(lambda parcel: bool(parcel.frames))
    frames = list(shown.frames)
    if frames[0].flags == 0:
        frames += page.rest().frames
    assert frames[-1].flags == 1
    assert shown["moment"] == 3


def test_redo_brings_back_the_very_picture(running, key, page):
    dragged(page)
    after = export(running, key)
    page.say(do="undo")
    page.say(do="redo")
    page.until(lambda parcel: parcel["moment"] == 4)
    assert export(running, key) == after


def test_any_moment_can_be_gone_to(page):
    dragged(page)
    page.say(do="go_to", moment=2)
    assert page.until(lambda parcel: parcel["moment"] == 2)["moments"] == 5


def test_a_moment_that_is_not_there_is_told(page):
    page.say(do="go_to", moment=9)
    assert page.told() == "moment 9: allowed is 0 to 0."


WRONG = [
    ({"do": "start", "points": [[64.0, 3.0, 3.0, 3.0]]}, "handle 64,3 lies outside the picture"),
    ({"do": "step", "points": [[3.0, 3.0, -1.0, 3.0]]}, "target -1,3 lies outside"),
    ({"do": "start"}, "no edit was begun"),
    ({"do": "step"}, "no edit was begun"),
    ({"do": "start", "points": [[3.0, 3.0, 3.0, 3.0]]}, "at its target already"),
    ({"do": "strength", "value": 1.0}, "no photo"),
]


@pytest.mark.parametrize(("message", "said"), WRONG)
def test_what_cannot_be_done_is_told_and_the_session_kept(page, message, said):
    page.say(**message)
    assert said in page.told()
    assert dragged(page, steps=1)["step"] == 1


RUBBISH = [
    "",
    "not json",
    "[]",
    "{}",
    '{"do": 1}',
    '{"do": "fly"}',
    '{"do": "undo", "do": "undo"}',
    '{"do": "undo", "more": 1}',
    '{"do": "start", "points": []}',
    '{"do": "start", "points": [[1, 2, 3]]}',
    '{"do": "start", "points": [[1, 2, 3, "4"]]}',
    '{"do": "start", "points": [[NaN, 2, 3, 4]]}',
    '{"do": "start", "points": [[1e999, 2, 3, 4]]}',
    '{"do": "go_to", "moment": -1}',
    '{"do": "go_to", "moment": 1.5}',
    '{"do": "strength", "value": 99}',
    '{"do": "ack", "parcel": 77}',
    json.dumps({"do": "start", "points": [[1, 2, 3, 4]] * 501}),
    "[" * 5000,
    b"\x00\x01",
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=lambda rubbish: repr(rubbish[:40]))
def test_rubbish_ends_the_connection_with_a_reason(page, rubbish):
    page.socket.send(rubbish)
    with pytest.raises(ConnectionClosed) as closed:
        page.take()
    assert closed.value.rcvd.code == 1008
    assert len(closed.value.rcvd.reason) > 10


def test_a_message_that_is_too_long_ends_the_connection(page):
    page.socket.send('{"do": "' + "x" * 70_000 + '"}')
    with pytest.raises(ConnectionClosed) as closed:
        page.take()
    assert closed.value.rcvd.code == 1009


def test_whoever_talks_too_much_is_let_go(page):
    def talk():
        for _ in range(400):
            page.socket.send('{"do": "pause"}')
        page.take()

    with pytest.raises(ConnectionClosed) as closed:
        talk()
    assert "messages in a second" in closed.value.rcvd.reason


def test_to_acknowledge_is_not_to_talk(running, key, monkeypatch):
    monkeypatch.setattr("trimtab.serve.drag.live.MOST_A_SECOND", 12)
    with line(running, key) as other:
        other.open()
        for moment in [0] * 10:
            other.say(do="go_to", moment=moment)
            other.until(lambda parcel: bool(parcel.frames))
        assert other.look()["moment"] == 0


def test_a_session_is_whole_after_rubbish(running, key, page):
    dragged(page, steps=2)
    page.socket.send("rubbish")
    with pytest.raises(ConnectionClosed):
        page.take()
    with line(running, key) as again:
        assert again.open()["moments"] == 4


def test_a_drag_pauses_when_the_last_browser_goes(running, key):
    with line(running, key) as page:
        page.open()
        page.say(do="start", points=FAR)
        page.until(lambda parcel: parcel["step"] > 1)
    with running.http() as http:
        assert eventually(lambda: http.get(f"/api/drag/sessions/{key}").json()["state"] == "idle")
        stopped = http.get(f"/api/drag/sessions/{key}").json()["moment"]
        time.sleep(0.3)
        assert http.get(f"/api/drag/sessions/{key}").json()["moment"] == stopped > 1


def test_a_drag_goes_on_while_another_browser_looks(running, key, page):
    with line(running, key) as other:
        other.open()
        other.say(do="start", points=FAR)
    step = page.until(lambda parcel: parcel["step"] > 0)["step"]
    assert page.until(lambda parcel: parcel["step"] > step + 3)["state"] == "running"


def test_a_session_is_taken_up_after_the_server_was_started_anew(tmp_path):
    with live_drag.dragging(tmp_path) as first:
        key = begin(first)
        with line(first, key) as page:
            page.open()
            dragged(page)
            page.say(do="undo")
            page.rest()
        picture = export(first, key)
    with live_drag.dragging(tmp_path) as second, line(second, key) as page:
        parcel = page.open()
        assert (parcel["moment"], parcel["moments"]) == (3, 5)
        assert export(second, key) == picture
        page.say(do="redo")
        assert page.until(lambda parcel: parcel["moment"] == 4)


def test_a_recipe_that_is_saved_makes_the_latent_again(root, running, key, page):
    dragged(page)
    recipe, latent = export(running, key, "recipe.json"), export(running, key, "latent.safetensors")
    folder = root / "drags" / key
    assert (folder / "recipe.json").read_bytes() == recipe
    again: Session = replay(folder, load_generator(root / live_drag.NAME))
    assert again.w_plus.numpy().tobytes() == latent[-again.w_plus.numel() * 4 :]


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_moving_picture_shows_the_way(running, key, page, kind):
    dragged(page, steps=4)
    with Image.open(io.BytesIO(export(running, key, f"drag.{kind}"))) as moving:
        assert moving.n_frames > 3
    assert page.until(lambda parcel: parcel["progress"] is None)["moment"] == 5


def test_saving_a_moving_picture_shows_no_other_moment_meanwhile(running, key, page):
    dragged(page, steps=4)
    page.until(lambda parcel: parcel["saved"])
    told = []
    saving = threading.Thread(target=lambda: export(running, key, "drag.gif"))
    saving.start()
    page.until(lambda parcel: (told.append(parcel), parcel["progress"] is None)[1])
    saving.join(20)
    assert {(parcel["moment"], parcel["edit"]) for parcel in told} == {(5, 0)}
    assert not any(parcel.frames for parcel in told)


def test_whoever_looks_at_a_drag_that_is_deleted_is_told(running, key, page):
    dragged(page, steps=1)
    with running.http() as http:
        assert http.delete(f"/api/drag/sessions/{key}").status_code == 204
    with pytest.raises(ConnectionClosed) as closed:
        page.until(lambda _: False)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "this drag was deleted.")


def test_whoever_comes_when_a_desk_is_put_away_is_told(tmp_path):
    desks = live_drag.desks(tmp_path)
    with serving.serving(without_model=True, desks=desks) as running:
        desk = desks.find(begin(running))
        desks.find = lambda _: desk
        desk.stop()
        assert desk.wait()
        with line(running, desk.key) as page, pytest.raises(ConnectionClosed) as closed:
            page.until(lambda _: False)
        assert (closed.value.rcvd.code, "put away" in closed.value.rcvd.reason) == (1001, True)


def test_two_pictures_take_turns(tmp_path, monkeypatch):
    """No step of one is taken while one of the other is."""
    at_work, most = [], []
    advance = Session.advance

    def watched(session):
        at_work.append(session)
        most.append(len(at_work))
        time.sleep(0.005)
        try:
            return advance(session)
        finally:
            at_work.remove(session)

    monkeypatch.setattr(Session, "advance", watched)
    with live_drag.dragging(tmp_path) as running, ExitStack() as stack:
        both = [stack.enter_context(line(running, begin(running, seed=seed))) for seed in (7, 8)]
        for page in both:
            page.open()
            page.say(do="start", points=FAR)
        for page in both:
            page.until(lambda parcel: parcel["step"] > 5)
            page.say(do="pause")
    assert set(most) == {1}
