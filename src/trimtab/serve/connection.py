"""Connections that cannot be held open for nothing: slow senders and slow readers are let go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from trimtab.serve.api_error import ApiError

HEADER_TIMEOUT_S: Final = 30.0
IDLE_TIMEOUT_S: Final = 30
STALLED_TIMEOUT_S: Final = 30.0
MAX_CONNECTIONS: Final = 256


class _Alarm:
    """Something that happens after a while, unless it is stopped."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        return self._timer is not None

    def set(self, delay_s: float, act: Callable[[], None]) -> None:
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(delay_s, act)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None


class Connection(H11Protocol):
    """uvicorn's connection with the time limits that it leaves out."""

    header_timeout_s = HEADER_TIMEOUT_S
    stalled_timeout_s = STALLED_TIMEOUT_S
    max_connections = MAX_CONNECTIONS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Begin without timers."""
        super().__init__(*arguments, **options)
        self._headers_due = _Alarm()
        self._reading_due = _Alarm()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse a connection too many; expect a request of any other."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse(ApiError(429, f"{self.max_connections} connections are open. Try again later."))
        else:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._headers_due.stop()
        self._reading_due.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; headers that have begun must end in time."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._headers_due.stop()
        elif not self._headers_due.is_set and not self.transport.is_closing():
            self._expect_headers()

    def on_response_complete(self) -> None:
        """Let go of the limits of a request that is done."""
        self._headers_due.stop()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not forever."""
        super().pause_writing()
        self._reading_due.set(self.stalled_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        self._reading_due.stop()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the shape of every other error."""
        self._refuse(ApiError(400, f"{msg.rstrip('.')}. Send HTTP/1.1.", code="invalid_http"))

    def _expect_headers(self) -> None:
        self._headers_due.set(self.header_timeout_s, self.transport.abort)

    def _refuse(self, error: ApiError) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # in the middle of another response
            return
        body = json.dumps(error.document()).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=error.status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class LiveConnection(WebSocketsSansIOProtocol):
    """uvicorn's socket, which lets a browser go that does not read."""

    stalled_timeout_s = STALLED_TIMEOUT_S

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Begin without a timer."""
        super().__init__(*arguments, **options)
        self._reading_due = _Alarm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._reading_due.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a browser that does not read, but not forever."""
        super().pause_writing()
        self._reading_due.set(self.stalled_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the browser reads."""
        self._reading_due.stop()
        super().resume_writing()
