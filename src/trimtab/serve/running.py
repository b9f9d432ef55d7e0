"""Listening, and stopping in good order."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import signal
import socket
from types import FrameType
from typing import Final

import uvicorn
from starlette.applications import Starlette

from trimtab.core.errors import UsageError
from trimtab.serve.connection import IDLE_TIMEOUT_S, Connection, LiveConnection
from trimtab.serve.service import Service

DRAIN_S: Final = 10.0
CLOSE_S: Final = 3
POLL_S: Final = 0.05
MAX_MESSAGE_BYTES: Final = 1 << 16
"""Of a socket: five hundred points take half of it."""


class Server(uvicorn.Server):
    """Serves an app until a signal: SIGTERM lets answers that run come to their end, Ctrl-C does not.

    Attributes:
        stopped_by: the first signal that came.
    """

    def __init__(self, app: Starlette, *, drain_s: float = DRAIN_S) -> None:
        """Take an app of ``create_app``.

        Args:
            app: to serve.
            drain_s: how long answers may still run after SIGTERM.
        """
        config = uvicorn.Config(
            app,
            http=Connection,
            ws=LiveConnection,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # pictures are compressed already
            loop="asyncio",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_TIMEOUT_S,
            timeout_graceful_shutdown=CLOSE_S,
        )
        super().__init__(config)
        self._service: Service | None = app.state.service
        self._drain_s = drain_s
        self._stopping: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.stopped_by: signal.Signals | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn calls it
        """Stop: at the first signal in order, at the second at once."""
        if self.stopped_by is not None or self._loop is None:
            self.should_exit = self.force_exit = True
        else:
            self.stop(signal.Signals(sig))

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """Stop as this signal would; from any thread."""
        assert self._loop is not None  # it listens
        self.stopped_by = sig
        self._loop.call_soon_threadsafe(self._begin_to_stop, self._drain_s if sig == signal.SIGTERM else 0.0)

    def _begin_to_stop(self, drain_s: float) -> None:
        self._stopping = asyncio.create_task(self._drain(drain_s))

    async def _drain(self, drain_s: float) -> None:
        """Refuse what is new, let answers end as long as they may, end the others, and close."""
        if (service := self._service) is not None:
            service.draining = True
            await _until_idle(service, drain_s)
            service.cancel_all()
            await _until_idle(service, CLOSE_S)
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """Take a port before anything slow begins.

    Raises:
        UsageError: it cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Named as TCP, or asyncio does not switch off Nagle's delay, and each token waits 40 ms for the one before.
        taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise UsageError(_cannot_listen(host, port, error)) from error
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen()
    except OSError as error:
        taken.close()
        raise UsageError(_cannot_listen(host, port, error)) from error
    return taken


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _until_idle(service: Service, timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while service.taken and loop.time() < end:
        await asyncio.sleep(POLL_S)


def _cannot_listen(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"port {port} of {host} is in use. Choose another with --port, or 0 for any that is free."
    if number == errno.EACCES:
        return f"port {port} is reserved for the system. Choose one above 1023 with --port."
    return f"cannot listen on {host} port {port} ({error}). Give an address of this machine."
