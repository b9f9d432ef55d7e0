"""Desks being put away, disks that refuse, and work that outlasts whoever asked for it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import pytest

import live_drag
from live_drag import NAME
from serving import eventually
from trimtab.core.errors import CheckpointError, LockedError
from trimtab.drag import stored
from trimtab.serve.api_error import ApiError
from trimtab.serve.drag import desk as desk_module
from trimtab.serve.drag import generators as generators_module
from trimtab.serve.drag import worker
from trimtab.serve.drag.desk import Desk
from trimtab.serve.drag.desks import MOST_OPEN, Desks
from trimtab.serve.drag.messages import Begin
from trimtab.store.lock import RunLock

FAR = [[10.0, 10.0, 50.0, 50.0]]
SHORT_S = 0.2


@pytest.fixture
def desks(tmp_path):
    desks = live_drag.desks(tmp_path)
    yield desks
    desks.close()


def opened(desks: Desks, *, seed: int = 1) -> Desk:
    """Give a desk whose picture stands."""
    desk = desks.begin(Begin(generator=NAME, seed=seed))
    desk.ask(lambda: None).result(10)
    return desk


def stepped(desks: Desks, *, steps: int = 1) -> Desk:
    """Give a desk with some steps, all of them kept."""
    desk = opened(desks)
    for number in range(steps):
        desk.start(FAR if number == 0 else None, once=True)
        assert eventually(lambda: desk.status()["moments"] == number + 3)  # noqa: B023 - called before the next one
        desk.ask(lambda: None).result(10)
    assert eventually(lambda: desk.status()["saved"])
    return desk


class Held:
    """A desk's thread that is kept from going on until the block ends."""

    def __init__(self, desk: Desk) -> None:
        self._on, begun = threading.Event(), threading.Event()
        self.done: Future[bool] = desk.ask(lambda: (begun.set(), self._on.wait(10))[1])
        assert begun.wait(10)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self._on.set()
        self.done.result(10)


@pytest.fixture
def full_disk(monkeypatch):
    """Let the disk refuse while the event is set."""
    full, write = threading.Event(), stored.write_bytes

    def refusing(path, content):
        if full.is_set():
            raise CheckpointError(f"{path} cannot be written (No space left on device).")
        write(path, content)

    monkeypatch.setattr(stored, "write_bytes", refusing)
    return full


def test_what_a_full_disk_refused_is_kept_later(desks, full_disk, monkeypatch):
    monkeypatch.setattr(desk_module, "AGAIN_S", 0.05)
    desk = stepped(desks)
    full_disk.set()
    desk.start(None, once=True)
    assert eventually(lambda: desk.status()["moments"] == 4)
    time.sleep(0.2)
    assert not desk.status()["saved"]
    full_disk.clear()
    assert eventually(lambda: desk.status()["saved"])
    assert desk.kept.load(desk.drawing.loaded).moments == 4


def test_a_full_disk_is_not_asked_without_pause(desks, full_disk, monkeypatch):
    desk = stepped(desks)
    tries = []
    save = desk.kept.save
    monkeypatch.setattr(desk.kept, "save", lambda drawing: (tries.append(drawing), save(drawing)))
    full_disk.set()
    desk.start(None, once=True)
    assert eventually(lambda: bool(tries))
    time.sleep(0.3)
    assert len(tries) == 1
    full_disk.clear()


def test_what_a_full_disk_refused_is_kept_at_the_end(desks, full_disk):
    desk = stepped(desks)
    full_disk.set()
    desk.start(None, once=True)
    assert eventually(lambda: desk.status()["moments"] == 4)
    desk.ask(lambda: None).result(10)
    full_disk.clear()
    desks.close()
    assert len(desks.find(desk.key).kept.path.name) == 12
    again = desks.find(desk.key)
    again.ask(lambda: None).result(10)
    assert again.status()["moments"] == 4


def test_what_is_lost_at_the_end_is_logged(desks, full_disk, caplog):
    desk = stepped(desks)
    full_disk.set()
    desk.start(None, once=True)
    assert eventually(lambda: desk.status()["moments"] == 4)
    desks.close()
    assert f"the drag {desk.key} are lost" in caplog.text
    full_disk.clear()


def test_a_start_that_is_refused_leaves_what_was_undone(desks):
    desk = stepped(desks, steps=3)
    desk.go_to(2)
    desk.start([[3.0, 3.0, 3.0, 3.0]])
    desk.ask(lambda: None).result(10)
    assert (desk.status()["moment"], desk.status()["moments"]) == (2, 5)


@pytest.mark.parametrize(
    ("asked", "moment"),
    [
        ((("move", -1), ("go_to", 1)), 1),
        ((("go_to", 1), ("move", 1)), 2),
        ((("go_to", 2), ("move", -1), ("go_to", 3)), 3),
        ((("go_to", 1), ("go_to", 2)), 2),
        ((("move", -1), ("move", -1)), 3),
    ],
)
def test_undo_and_go_to_are_done_as_they_were_asked_for(desks, asked, moment):
    desk = stepped(desks, steps=4)
    with Held(desk):
        for name, number in asked:
            getattr(desk, name)(number)
    desk.ask(lambda: None).result(10)
    assert desk.status()["moment"] == moment


def test_of_many_moments_asked_for_in_a_row_one_is_shown(desks, monkeypatch):
    desk = stepped(desks, steps=4)
    shown = []
    go_to = desk.drawing.go_to
    monkeypatch.setattr(desk.drawing, "go_to", lambda moment: (shown.append(moment), go_to(moment)))
    with Held(desk):
        for moment in (0, 1, 2, 3):
            desk.go_to(moment)
    desk.ask(lambda: None).result(10)
    assert shown == [3]


def test_what_waits_when_a_desk_is_put_away_is_told_so(desks):
    desk = opened(desks)
    with Held(desk):
        waiting = desk.ask(lambda: None)
        desk.stop()
    with pytest.raises(worker.PutAway, match="Try again"):
        waiting.result(10)


def test_a_deleted_drag_whose_work_outlasts_the_wait_is_told_and_does_not_come_back(desks, monkeypatch):
    monkeypatch.setattr(Desk, "wait", lambda self: worker.Worker.wait(self, SHORT_S))
    desk = stepped(desks)
    with Held(desk):
        desk.start(None, once=True)
        with pytest.raises(ApiError) as refused:
            desks.remove(desk.key)
        assert refused.value.status == 409
        with pytest.raises(ApiError) as refused:
            desks.find(desk.key)
        assert refused.value.status == 409
    assert desk.wait()
    desks.remove(desk.key)
    assert not desk.kept.path.exists()


def test_a_deleted_drag_is_not_written_by_what_it_did_last(desks):
    desk = stepped(desks)
    with Held(desk):
        desk.ask(lambda: desk.start(None, once=True))
        removing = threading.Thread(target=lambda: desks.remove(desk.key))
        removing.start()
        assert eventually(lambda: desk.stopping)
    removing.join(10)
    assert not desk.kept.path.exists()


def test_nobody_else_waits_while_a_desk_is_put_away(desks):
    other, desk = opened(desks, seed=2), stepped(desks)
    with Held(desk):
        removing = threading.Thread(target=lambda: desks.remove(desk.key))
        removing.start()
        assert eventually(lambda: desk.stopping)
        began = time.monotonic()
        assert desks.find(other.key) is other
        assert time.monotonic() - began < 1
    removing.join(10)


def test_a_drag_that_is_being_put_away_is_opened_when_it_is(desks):
    desk = stepped(desks)
    found: list[Desk] = []
    with Held(desk):
        desks._let_go(desk)
        finding = threading.Thread(target=lambda: found.append(desks.find(desk.key)))
        finding.start()
        time.sleep(0.1)
        assert not found
    finding.join(10)
    found[0].ask(lambda: None).result(10)
    assert (found[0].status()["state"], found[0].status()["moments"]) == ("idle", 3)


def test_a_drag_that_another_process_has_open_is_not_deleted(desks):
    desk = stepped(desks)
    desks.close()
    with RunLock(desk.kept.path), pytest.raises(LockedError, match="another process"):
        desks.remove(desk.key)
    assert (desk.kept.path / "recipe.json").is_file()
    desks.remove(desk.key)


def test_a_moving_picture_is_left_when_its_desk_is_put_away(desks):
    from trimtab.serve.drag.exports import export_of

    desk = stepped(desks, steps=3)
    drawing = desk.drawing
    picture_at, begun = drawing.picture_at, threading.Event()
    drawing.picture_at = lambda moment: (begun.set(), time.sleep(0.1), picture_at(moment))[2]
    making = desk.ask(lambda: export_of("drag.gif").make(desk, drawing))
    assert begun.wait(10)
    desk.stop()
    with pytest.raises(worker.PutAway):
        making.result(10)
    assert desk.wait()


def test_pictures_nobody_waits_for_any_more_make_room_while_they_load(desks, monkeypatch):
    on, load = threading.Event(), generators_module.load_generator
    monkeypatch.setattr(generators_module, "load_generator", lambda folder: (on.wait(10), load(folder))[1])
    many = [desks.begin(Begin(generator=NAME, seed=seed)) for seed in range(2 * MOST_OPEN)]
    on.set()
    assert desks.find(many[-1].key) is many[-1]
    many[-1].ask(lambda: None).result(10)
    assert many[-1].status()["seed"] == 2 * MOST_OPEN - 1
