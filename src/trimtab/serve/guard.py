"""Who may ask at all: by the name they used, the page they come from, and the token they bring."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.serve.api_error import ApiError
from trimtab.serve.metrics import Metrics

LOCAL_NAMES: Final = frozenset(("localhost", "127.0.0.1", "::1"))
ANY_ADDRESS: Final = "*"
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""On every reply that does not set its own."""
COUNTED: Final = frozenset(
    ("/health", "/metrics", "/openapi.json", "/v1/models", "/v1/chat/completions", "/v1/completions", "/")
)
COUNTED_PREFIXES: Final = ("/v1/models/", "/page/", "/api/")
OWN_SITES: Final = frozenset(("same-origin", "none"))
"""What a browser says of the page that makes it ask: this server's own, or no page at all."""
CLIENT_GONE: Final = 499
TOKEN_PROTOCOL: Final = "trimtab-token."

_log = logging.getLogger("trimtab.serve")


@dataclass(frozen=True)
class Rules:
    """Who is let in.

    Attributes:
        token: must come with every request; None asks for none.
        hosts: names of the server besides those of this machine, without ports; "*" is every number address.
        open_paths: need no token, and may be linked to from anywhere.
    """

    token: str | None
    hosts: frozenset[str]
    open_paths: frozenset[str]


class Guard:
    """Checks each request before anything else sees it, and counts it."""

    def __init__(self, app: ASGIApp, *, rules: Rules, metrics: Metrics) -> None:
        """Stand before an app."""
        self._app, self._rules, self._metrics = app, rules, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "websocket":
            await self._guard_socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), CLIENT_GONE

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            check(scope, self._rules)
            await self._app(scope, receive, sending)
        except ApiError as error:
            await error.response()(scope, receive, sending)
        except Exception as error:
            if status != CLIENT_GONE:  # too late for an answer: the connection is cut
                raise
            _log.exception("a request failed")
            await _fault(error).response()(scope, receive, sending)
        finally:
            self._metrics.note_request(_label(scope["path"]), status, time.perf_counter() - began)

    async def _guard_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a socket before it is open; a page that is refused learns no more than that."""
        try:
            check(scope, self._rules)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)


def check(scope: Scope, rules: Rules) -> None:
    """Refuse a request that must not be answered.

    Raises:
        ApiError: 401 or 403.
    """
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    host = hosts[0].lower() if len(hosts) == 1 else ""
    if not _is_ours(name_of(host), rules.hosts):
        received = f"Host {', '.join(hosts)!r:.100} is not this server's"
        message = f"{received}. Call it by its address, or start the server with --allow-host."
        raise ApiError(403, message, code="host_not_allowed")
    origins = headers.getlist("origin")
    if any(_netloc(origin) != host for origin in origins):
        message = f"Origin {', '.join(origins)!r:.100} is another site. Only this server's own page may call it."
        raise ApiError(403, message, code="origin_not_allowed")
    if not origins and scope["path"] not in rules.open_paths:
        _check_site(headers)
    if rules.token is not None and scope["path"] not in rules.open_paths:
        _check_token(headers.getlist("authorization") or _token_of_socket(scope), rules.token)


def _check_site(headers: Headers) -> None:
    """Refuse what a page of another site makes a browser fetch, such as pictures, for which it sends no origin."""
    sites = headers.getlist("sec-fetch-site")
    if any(site not in OWN_SITES for site in sites):
        message = f"Sec-Fetch-Site {', '.join(sites)!r:.100}: another site. Only this server's own page may call it."
        raise ApiError(403, message, code="origin_not_allowed")


def _fault(error: Exception) -> ApiError:
    return ApiError(500, f"the server failed ({type(error).__name__}). Its log says where.", code="internal_error")


def _token_of_socket(scope: Scope) -> list[str]:
    """Give the token of a socket as a header would: a browser can send none, only names of protocols.

    The token is written in base64 for URLs, since names of protocols may not hold every character, and never answered.
    """
    words = [
        word.removeprefix(TOKEN_PROTOCOL) for word in scope.get("subprotocols", ()) if word.startswith(TOKEN_PROTOCOL)
    ]
    try:
        return [f"Bearer {base64.urlsafe_b64decode(word + '=' * (-len(word) % 4)).decode()}" for word in words]
    except ValueError:
        return []


def _check_token(given: list[str], token: str) -> None:
    scheme, _, word = (given[0] if len(given) == 1 else "").partition(" ")
    same = hmac.compare_digest(_digest(word.strip()), _digest(token))
    if not (same and scheme.lower() == "bearer"):
        message = "the token is missing or wrong. Send the header: Authorization: Bearer TOKEN."
        raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def _digest(text: str) -> bytes:
    """Make texts of all lengths equally long, so that comparing them tells nothing."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _is_ours(name: str, hosts: frozenset[str]) -> bool:
    return name in LOCAL_NAMES or name in hosts or (ANY_ADDRESS in hosts and _is_address(name))


def _is_address(name: str) -> bool:
    """Tell numbers from names; only a name can be made to point elsewhere (DNS rebinding)."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def name_of(host: str) -> str:
    """Take the port off what a Host header says, in lower case; nothing where the rest is no host."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    return (parts.hostname or "").rstrip(".") if parts.netloc == host and "@" not in host else ""


def _netloc(origin: str) -> str | None:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None


def _label(path: str) -> str:
    """Name a path for the counts; what clients invent is one line together."""
    if path in COUNTED:
        return path
    return next((prefix + "*" for prefix in COUNTED_PREFIXES if path.startswith(prefix)), "other")
