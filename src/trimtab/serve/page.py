"""The page: files beside this module, served under ``/page/``, and ``index.html`` at ``/``.

The files hold nothing secret and a browser cannot send a token for them, so whoever guards the app lets the paths of
``public_paths`` through without one; the page then asks for the token and sends it with every call of an API.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PREFIX: Final = "/page/"
INDEX: Final = "index.html"
TYPES: Final[Mapping[str, str]] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""Written out rather than asked of the system: a machine's own table may call scripts something else."""


def routes() -> list[Route]:
    """Give one route for each file that ships, and nothing else: no path of a request ever becomes a file's name."""
    return [Route(path, _answer, methods=["GET"], include_in_schema=False) for path in _files()]


def public_paths() -> frozenset[str]:
    """Give the paths that need no token."""
    return frozenset(_files())


@cache
def _files() -> Mapping[str, Traversable]:
    """Map the path of a request to the file that answers it."""
    found = dict(_walk(files(__package__).joinpath("page"), PREFIX))
    found["/"] = found[PREFIX + INDEX]
    return found


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif _ending(entry.name) in TYPES:
            yield prefix + entry.name, entry


def _answer(request: Request) -> Response:
    """Send a file, or 304 where the browser has these very bytes; it asks each time, so an update shows at once."""
    file = _files()[request.url.path]
    body = file.read_bytes()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if tag in [word.strip().removeprefix("W/") for word in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(body, headers={**headers, "Content-Type": TYPES[_ending(file.name)]})


def _ending(name: str) -> str:
    return name.rpartition(".")[2]
