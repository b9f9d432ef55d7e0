"""The socket: what a browser says goes to the desk, what is new there goes to the browser, one parcel at a time."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from trimtab.core.errors import TrimtabError
from trimtab.serve.drag.desk import Desk
from trimtab.serve.drag.messages import Ack, GoTo, Pause, Redo, Said, Start, Step, Strength, Undo, read_said
from trimtab.serve.drag.viewer import Viewer

PROTOCOL: Final = "trimtab-drag"
MOST_A_SECOND: Final = 100
MOST_REASON_BYTES: Final = 120
AWAY: Final = 1001
RUBBISH: Final = 1008
FAULT: Final = 1011

_log = logging.getLogger("trimtab.serve")


class Rubbish(TrimtabError):
    """What a browser sent ends the connection."""


class Ended(TrimtabError):
    """The desk was put away."""


class Live:
    """One browser on one desk."""

    def __init__(self, socket: WebSocket, desk: Desk) -> None:
        """Belong to the event loop that runs now."""
        self._socket, self._desk, self._viewer = socket, desk, Viewer()
        self._parcel = 0
        self._shown = asyncio.Event()
        self._times: deque[float] = deque(maxlen=MOST_A_SECOND)

    async def run(self) -> None:
        """Look on until the browser goes, or sends rubbish."""
        await self._socket.accept(PROTOCOL if PROTOCOL in self._socket.scope["subprotocols"] else None)
        self._desk.join(self._viewer)
        tasks = [asyncio.create_task(part) for part in (self._listen(), self._show(), self._await_end())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await self._part([error for task in done if (error := task.exception()) is not None])
        finally:
            self._desk.leave(self._viewer)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _part(self, errors: list[BaseException]) -> None:
        """Close with a reason, unless the browser has gone."""
        for error in errors:
            if isinstance(error, WebSocketDisconnect):
                return
            if isinstance(error, Ended):
                await self._close(AWAY, str(error))
            elif isinstance(error, TrimtabError):
                await self._close(RUBBISH, str(error))
            else:
                _log.error("a live drag failed", exc_info=error)
                await self._close(FAULT, f"the server failed ({type(error).__name__}). Its log says where.")
            return

    async def _close(self, code: int, reason: str) -> None:
        short = reason.encode("utf-8", "replace")[:MOST_REASON_BYTES].decode("utf-8", "ignore")
        try:
            await self._socket.close(code, short)
        except (RuntimeError, OSError):
            _log.debug("the browser was gone before it was told %s", short)

    async def _listen(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code") or 1005)
            if message.get("text") is None:
                raise Rubbish("a binary message: only JSON text is taken.")
            said = read_said(message["text"])
            if not isinstance(said, Ack):  # which come no faster than parcels do
                self._check_rate()
            self._do(said)

    async def _show(self) -> None:
        while True:
            parcel = await self._viewer.take()
            self._parcel += 1
            self._shown.clear()
            status: dict[str, Any] = {**parcel.status, "parcel": self._parcel, "frames": len(parcel.shots)}
            await self._socket.send_text(json.dumps(status, allow_nan=False))
            for shot in parcel.shots:
                await self._socket.send_bytes(shot.content)
            await self._shown.wait()

    async def _await_end(self) -> None:
        raise Ended(await self._viewer.ended())

    def _check_rate(self) -> None:
        now = time.monotonic()
        if len(self._times) == MOST_A_SECOND and now - self._times[0] < 1:
            raise Rubbish(f"more than {MOST_A_SECOND} messages in a second. Send fewer.")
        self._times.append(now)

    def _do(self, said: Said) -> None:
        desk = self._desk
        match said:
            case Ack():
                if said.parcel != self._parcel or self._shown.is_set():
                    raise Rubbish(f"parcel {said.parcel} is not on its way. Acknowledge each once.")
                self._shown.set()
            case Start():
                desk.start(said.points)
            case Step():
                desk.start(said.points, once=True)
            case Pause():
                desk.pause()
            case Undo():
                desk.move(-1)
            case Redo():
                desk.move(1)
            case GoTo():
                desk.go_to(said.moment)
            case Strength():
                desk.set_strength(said.value)
