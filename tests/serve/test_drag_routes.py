"""Drags by HTTP: what is offered, begun, kept, masked, saved and deleted, and who may."""

from __future__ import annotations

import base64
import io
from http.client import HTTPConnection

import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import InvalidStatus

from live_drag import NAME, begin, dragging, export, line
from serving import eventually
from trimtab.serve.drag.desks import MOST_OPEN
from trimtab.serve.drag.live import PROTOCOL
from trimtab.serve.guard import TOKEN_PROTOCOL

TOKEN = "a token/with=odd,characters"
FAR = [[32.0, 32.0, 50.0, 50.0]]


@pytest.fixture
def http(running):
    with running.http() as http:
        yield http


def at(key: str, name: str = "") -> str:
    return f"/api/drag/sessions/{key}/{name}".rstrip("/")


def step(running, key: str, *, steps: int = 1) -> None:
    with line(running, key) as page:
        page.open()
        page.say(do="step", points=FAR)
        page.rest()
        for _ in range(steps - 1):
            page.say(do="step")
            page.rest()


def bits(movable: np.ndarray) -> bytes:
    return np.packbits(movable.reshape(-1)).tobytes()


def middle() -> np.ndarray:
    movable = np.zeros((64, 64), dtype=bool)
    movable[16:48, 16:48] = True
    return movable


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture).astype(int)


def test_generators_are_offered_by_name(http):
    assert http.get("/api/drag").json()["generators"] == [NAME]


BAD = [
    ({"generator": "tini"}, 404, "Did you mean 'tiny'"),
    ({"generator": NAME, "seed": -1}, 400, "seed"),
    ({"generator": NAME, "seed": 2**32}, 400, "seed"),
    ({"generator": NAME, "seed": "1"}, 400, "seed"),
    ({"generator": NAME, "truncation": 3}, 400, "truncation"),
    ({"generator": NAME, "folder": "/etc"}, 400, "no such field"),
    ({"seed": 1}, 400, "missing"),
    ({"generator": "../tiny"}, 404, "no generator"),
]


@pytest.mark.parametrize(("asked", "status", "said"), BAD)
def test_what_cannot_be_begun_is_told(http, asked, status, said):
    reply = http.post("/api/drag/sessions", json=asked)
    assert (reply.status_code, said in reply.json()["error"]["message"]) == (status, True)


@pytest.mark.parametrize("key", ["0" * 12, "A" * 12, "x", "%2e%2e"])
@pytest.mark.parametrize("name", ["", "mask", "picture.png", "thumbnail"])
def test_a_session_that_is_not_there_is_not_found(http, key, name):
    assert http.get(at(key, name)).status_code == 404


@pytest.mark.parametrize("key", ["..", "../../etc", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc", "..%2f..%2fetc", "%00"])
def test_a_path_that_leads_elsewhere_is_not_found(running, key):
    """Sent as it stands: clients such as httpx would straighten it first."""
    connection = HTTPConnection("127.0.0.1", running.port, timeout=20)
    for name in ("", "/thumbnail", "/recipe.json"):
        connection.putrequest("GET", f"/api/drag/sessions/{key}{name}")
        connection.endheaders()
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 404
    connection.close()


def test_a_socket_of_a_session_that_is_not_there_is_refused_before_it_opens(running):
    with pytest.raises(InvalidStatus) as refused, line(running, "0" * 12):
        pass
    assert refused.value.response.status_code == 404


def test_an_export_that_is_not_there_is_named(http, key):
    reply = http.get(at(key, "picture.jpg"))
    assert reply.status_code == 404
    assert "picture.png" in reply.json()["error"]["message"]


def test_an_export_comes_as_a_file(http, key):
    headers = http.get(at(key, "picture.png")).headers
    assert headers["content-type"] == "image/png"
    assert headers["content-disposition"] == f'attachment; filename="{key}-picture.png"'


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_there_is_no_moving_picture_of_nothing(http, key, kind):
    reply = http.get(at(key, f"drag.{kind}"))
    assert (reply.status_code, "nothing has moved" in reply.text) == (400, True)


def test_a_mask_comes_back_as_it_was_sent(http, key):
    assert http.get(at(key, "mask")).status_code == 404
    sent = bits(middle())
    headers = {"Content-Type": "application/octet-stream"}
    assert http.put(at(key, "mask"), content=sent, headers=headers).status_code == 204
    assert http.get(at(key, "mask")).content == sent
    assert http.delete(at(key, "mask")).status_code == 204
    assert http.get(at(key, "mask")).status_code == 404


WRONG_MASKS = [
    (b"", "0 bytes; expected are 512"),
    (b"\xff" * 513, "513 bytes; expected are 512"),
    (bytes(512), "empty"),
]


@pytest.mark.parametrize(("content", "said"), WRONG_MASKS)
def test_a_wrong_mask_is_told_and_the_one_before_kept(http, key, content, said):
    headers = {"Content-Type": "application/octet-stream"}
    http.put(at(key, "mask"), content=bits(middle()), headers=headers)
    reply = http.put(at(key, "mask"), content=content, headers=headers)
    assert (reply.status_code, said in reply.json()["error"]["message"]) == (400, True)
    assert http.get(at(key, "mask")).content == bits(middle())


def test_a_mask_of_everything_is_none(http, key):
    headers = {"Content-Type": "application/octet-stream"}
    assert http.put(at(key, "mask"), content=b"\xff" * 512, headers=headers).status_code == 204
    assert http.get(at(key, "mask")).status_code == 404


@pytest.mark.parametrize("kind", ["image/png", "text/plain", ""])
def test_a_mask_of_another_kind_is_refused(http, key, kind):
    reply = http.put(at(key, "mask"), content=bits(middle()), headers={"Content-Type": kind})
    assert reply.status_code == 415


def test_a_body_that_is_too_large_is_refused(http, key):
    headers = {"Content-Type": "application/octet-stream"}
    assert http.put(at(key, "mask"), content=bytes((1 << 20) + 1), headers=headers).status_code == 413


def test_outside_a_mask_the_saved_picture_stays(running, http, key):
    before = pixels(export(running, key))
    http.put(at(key, "mask"), content=bits(middle()), headers={"Content-Type": "application/octet-stream"})
    step(running, key, steps=4)
    change = np.abs(pixels(export(running, key)) - before)
    assert change[:8].mean() < 4 / 255
    assert change[24:40, 24:40].mean() > 0.5


def test_a_drag_is_listed_once_something_moved(running, http, key):
    assert key not in [one["key"] for one in http.get("/api/drag").json()["sessions"]]
    step(running, key, steps=2)
    export(running, key, "recipe.json")
    (one,) = [one for one in http.get("/api/drag").json()["sessions"] if one["key"] == key]
    assert (one["generator"], one["seed"], one["edits"], one["steps"]) == (NAME, 7, 1, 2)
    with Image.open(io.BytesIO(http.get(at(key, "thumbnail")).content)) as picture:
        assert picture.size == (64, 64)


def test_a_deleted_drag_leaves_nothing(running, root, http, key):
    step(running, key)
    export(running, key, "recipe.json")
    assert (root / "drags" / key).is_dir()
    assert http.delete(at(key)).status_code == 204
    assert not (root / "drags" / key).exists()
    assert http.get(at(key)).status_code == 404
    assert http.delete(at(key)).status_code == 404


def test_of_many_pictures_the_one_that_waits_longest_is_put_away_and_kept(running, root):
    first = begin(running)
    step(running, first)
    for seed in range(MOST_OPEN + 1):
        begin(running, seed=seed)
    assert eventually(lambda: (root / "drags" / first / "recipe.json").is_file())
    with running.http() as http:
        assert first not in [one["key"] for one in http.get("/api/drag").json()["sessions"] if one["open"]]
    with line(running, first) as page:
        assert page.open()["moments"] == 3


def test_no_picture_that_is_looked_at_is_put_away(tmp_path):
    from contextlib import ExitStack

    with dragging(tmp_path) as running, ExitStack() as stack, running.http() as http:
        for seed in range(MOST_OPEN):
            stack.enter_context(line(running, begin(running, seed=seed))).open()
        reply = http.post("/api/drag/sessions", json={"generator": NAME})
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "too_many_open")


def test_a_drag_that_another_process_holds_is_told(tmp_path):
    from trimtab.store.lock import RunLock

    with dragging(tmp_path) as running:
        key = begin(running)
        step(running, key)
        export(running, key, "recipe.json")
    with RunLock(tmp_path / "drags" / key), dragging(tmp_path) as running, line(running, key) as page:
        assert "is open in another process" in page.until(lambda parcel: parcel["state"] == "failed")["problem"]


def test_a_damaged_drag_is_told_and_left_out_of_the_list(tmp_path):
    with dragging(tmp_path) as running:
        key = begin(running)
        step(running, key)
        export(running, key, "recipe.json")
    (tmp_path / "drags" / key / "recipe.json").write_text("{")
    with dragging(tmp_path) as running, running.http() as http:
        assert http.get("/api/drag").json()["sessions"] == []
        reply = http.get(at(key))
        assert (reply.status_code, "--out" in reply.text, "Delete the drag" in reply.text) == (422, False, True)


def test_damaged_steps_are_told_in_words_of_the_page(tmp_path):
    with dragging(tmp_path) as running:
        key = begin(running)
        step(running, key)
        export(running, key, "recipe.json")
    (latents,) = (tmp_path / "drags" / key).glob("latents*")
    latents.write_bytes(latents.read_bytes()[:-1])
    with dragging(tmp_path) as running, line(running, key) as page:
        told = page.until(lambda parcel: parcel["state"] == "failed")["problem"]
    assert "--out" not in told
    assert told.endswith("Delete the drag, and begin a new one.")


def test_a_seed_has_a_small_picture(http):
    reply = http.get("/api/drag/thumbnail", params={"generator": NAME, "seed": 3, "truncation": 0.5})
    with Image.open(io.BytesIO(reply.content)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 64))


@pytest.mark.parametrize("query", ["", "generator=none", "generator=tiny&seed=x", "generator=tiny&seed=9" + "9" * 99])
def test_a_wrong_small_picture_is_refused(http, query):
    assert http.get(f"/api/drag/thumbnail?{query}").status_code in (400, 404)


def test_a_server_without_drags_has_none():
    import serving

    with serving.serving(without_model=True) as bare, bare.http() as http:
        assert http.get("/api/drag").status_code == 404


FOREIGN = [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_no_other_site_can_open_the_socket(running, key, headers):
    with pytest.raises(InvalidStatus) as refused, line(running, key, additional_headers=headers):
        pass
    assert refused.value.response.status_code in (400, 403)


def test_the_own_page_can(running, key):
    with line(running, key, origin=f"http://127.0.0.1:{running.port}") as page:
        assert page.open().frames


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with dragging(tmp_path_factory.mktemp("guarded"), token=TOKEN) as running:
        yield running, begin(running, Authorization=f"Bearer {TOKEN}")


def protocol_of(token: str) -> str:
    return TOKEN_PROTOCOL + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


@pytest.mark.parametrize("protocols", [[], [protocol_of("another token")], [f"{TOKEN_PROTOCOL}!"]])
def test_the_socket_asks_for_the_token(guarded, protocols):
    running, key = guarded
    with pytest.raises(InvalidStatus) as refused, line(running, key, subprotocols=[PROTOCOL, *protocols]):
        pass
    assert refused.value.response.status_code == 401


def test_the_token_opens_the_socket_and_is_not_repeated(guarded):
    running, key = guarded
    with line(running, key, subprotocols=[PROTOCOL, protocol_of(TOKEN)]) as page:
        assert page.open().frames
        assert page.socket.subprotocol == PROTOCOL


@pytest.mark.parametrize("path", ["/api/drag", "/api/drag/thumbnail", "/api/drag/sessions/x/picture.png"])
def test_every_route_asks_for_the_token(guarded, path):
    with guarded[0].http() as http:
        assert http.get(path).status_code == 401
