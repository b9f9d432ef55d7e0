"""A page's side of a live drag, without a browser."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

import serving
from dragging import generator_folder
from serving import Running
from trimtab.drag.invert.settings import InvertSettings
from trimtab.serve.drag.desks import Desks
from trimtab.serve.drag.generators import Generators
from trimtab.serve.drag.live import PROTOCOL

NAME = "tiny"
PULLS = [[30.0, 30.0, 36.0, 30.0]]
"""On the tiny generator: far enough for many steps."""
WAIT_S = 20


@dataclass(frozen=True)
class Frame:
    """A frame as it came."""

    step: int
    flags: int
    width: int
    height: int
    jpeg: bytes


@dataclass(frozen=True)
class Parcel:
    """A status with its frames."""

    status: dict[str, Any]
    frames: list[Frame]

    def __getitem__(self, name: str) -> Any:
        return self.status[name]


class Line:
    """A socket; parcels are acknowledged as they are taken."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def look(self, timeout_s: float = WAIT_S) -> Parcel:
        """Take a parcel without acknowledging it."""
        status = json.loads(self.socket.recv(timeout_s))
        frames = []
        for _ in range(status["frames"]):
            content = self.socket.recv(timeout_s)
            assert isinstance(content, bytes)
            frames.append(Frame(*struct.unpack("<4I", content[:16]), content[16:]))
        return Parcel(status, frames)

    def take(self, timeout_s: float = WAIT_S) -> Parcel:
        parcel = self.look(timeout_s)
        self.say(do="ack", parcel=parcel["parcel"])
        return parcel

    def until(self, condition: Callable[[Parcel], bool]) -> Parcel:
        """Take parcels until one is as wanted."""
        for _ in range(500):
            if condition(parcel := self.take()):
                return parcel
        raise AssertionError(f"it never came; the last was {parcel.status}")

    def open(self) -> Parcel:
        """Wait for the first picture."""
        return self.until(lambda parcel: bool(parcel.frames))

    def told(self) -> str:
        """Wait for a note."""
        return str(self.until(lambda parcel: bool(parcel["notes"]))["notes"][0]["text"])

    def rest(self) -> Parcel:
        """Wait until the drag rests and its whole picture has come."""
        return self.until(lambda parcel: parcel["state"] == "idle" and any(frame.flags & 1 for frame in parcel.frames))


BRIEF = InvertSettings(guesses=4, style_steps=8, detail_steps=2, adapter_steps=8, look_every=2)


def desks(root: Path, *, inversion: InvertSettings = BRIEF, **named: Path) -> Desks:
    """Give desks over the tiny generator, or over others by name."""
    folders = named or {NAME: root / NAME}
    if not named and not folders[NAME].is_dir():
        generator_folder(folders[NAME])
    return Desks(Generators(folders), root / "drags", inversion=inversion)


@contextmanager
def dragging(root: Path, *, inversion: InvertSettings = BRIEF, **options: Any) -> Iterator[Running]:
    """Serve drags while the block runs."""
    with serving.serving(without_model=True, desks=desks(root, inversion=inversion), **options) as running:
        yield running


def begin(running: Running, *, seed: int = 7, generator: str = NAME, **headers: str) -> str:
    """Begin a session; give its key."""
    with running.http(headers=headers) as http:
        reply = http.post("/api/drag/sessions", json={"generator": generator, "seed": seed})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["key"])


@contextmanager
def line(running: Running, key: str, **options: Any) -> Iterator[Line]:
    """Look on a session."""
    url = f"ws://127.0.0.1:{running.port}/api/drag/sessions/{key}/live"
    with connect(url, **({"subprotocols": [PROTOCOL], "max_size": 1 << 24} | options)) as socket:
        yield Line(socket)


def export(running: Running, key: str, name: str = "picture.png") -> bytes:
    """Fetch what a person would save."""
    with running.http() as http:
        reply = http.get(f"/api/drag/sessions/{key}/{name}")
    assert reply.status_code == 200, reply.text
    return reply.content
