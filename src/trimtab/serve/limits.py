"""How much a client may send, how long it may take, and in which form."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.serve.api_error import ApiError

MAX_BODY_BYTES: Final = 1 << 20
BODY_TIMEOUT_S: Final = 30.0
JSON: Final = "application/json"
DIGITS_OF_A_LENGTH: Final = 19


class Limits:
    """Refuses bodies that are too large or too slow."""

    def __init__(
        self, app: ASGIApp, *, timeout_s: float = BODY_TIMEOUT_S, larger: Mapping[str, int] | None = None
    ) -> None:
        """Stand before an app.

        Args:
            app: gets what is let through.
            timeout_s: for a whole body.
            larger: most bytes on paths that take more than others.
        """
        self._app, self._timeout_s, self._larger = app, timeout_s, dict(larger or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request whose body has come as it should; the app gets it in one piece.

        Raises:
            ApiError: 408 or 413.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most_bytes = self._larger.get(scope["path"], MAX_BODY_BYTES)
        _check_headers(scope, most_bytes)
        try:
            body = await asyncio.wait_for(_read(receive, most_bytes), self._timeout_s)
        except TimeoutError as error:
            message = f"the body did not come within {self._timeout_s:g} s. Send it faster."
            raise ApiError(408, message, code="timeout", headers={"Connection": "close"}) from error
        if body is None:
            return
        given: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receiving() -> Message:
            return given.pop() if given else await receive()

        await self._app(scope, receiving, send)


async def _read(receive: Receive, most_bytes: int) -> bytes | None:
    """Read a body; None where the client went meanwhile."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most_bytes:
            raise _too_large(most_bytes)
        more = message.get("more_body", False)
    return b"".join(parts)


def _check_headers(scope: Scope, most_bytes: int) -> None:
    headers = Headers(scope=scope)
    length = headers.get("content-length", "0")
    if len(length) > DIGITS_OF_A_LENGTH or not length.isdecimal() or int(length) > most_bytes:
        raise _too_large(most_bytes)


def check_json(headers: Headers) -> None:
    """Refuse a body that is no plain JSON by its headers; a page of another site could send such without being asked.

    Raises:
        ApiError: 415.
    """
    check_type(headers, JSON)


def check_type(headers: Headers, *allowed: str) -> None:
    """Refuse a body of another kind, or one that is compressed.

    Raises:
        ApiError: 415.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in allowed:
        message = f"Content-Type {kind!r:.80}: allowed is {' or '.join(allowed)}."
        raise ApiError(415, message, code="unsupported_media_type")
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        message = f"Content-Encoding {coding!r:.80}: allowed is none. Send the body as it is."
        raise ApiError(415, message, code="unsupported_media_type")


def _too_large(most_bytes: int) -> ApiError:
    message = f"the body is larger than {most_bytes} bytes. Send less."
    return ApiError(413, message, code="body_too_large", headers={"Connection": "close"})
