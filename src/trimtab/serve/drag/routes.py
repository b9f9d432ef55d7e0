"""``/api/drag``: what the page asks for by HTTP, and the door of the socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from trimtab.core.errors import FormatError, LockedError, MissingError, NonFiniteError, TrimtabError, UsageError
from trimtab.serve.api_error import ApiError
from trimtab.serve.drag.desk import Desk
from trimtab.serve.drag.desks import Desks
from trimtab.serve.drag.drawing import Drawing
from trimtab.serve.drag.exports import export_of
from trimtab.serve.drag.live import Live
from trimtab.serve.drag.masks import pack, unpack
from trimtab.serve.drag.messages import Begin, Place, Thumbnail
from trimtab.serve.drag.photos import Photos
from trimtab.serve.drag.thumbnails import Thumbnails
from trimtab.serve.drag.worker import PutAway
from trimtab.serve.fields import read_fields
from trimtab.serve.limits import check_json, check_type
from trimtab.serve.strict_json import parse_object

BINARY: Final = "application/octet-stream"
PREFIX: Final = "/api/drag"
PHOTOS: Final = f"{PREFIX}/photos"
LARGER: Final = {PHOTOS: 48 << 20}
"""Most bytes of a body on paths that take more than others."""
STATUSES: Final = {MissingError: 404, PutAway: 409, LockedError: 409, FormatError: 422, NonFiniteError: 422}

Endpoint = Callable[[Request], Awaitable[Response]]
Result = TypeVar("Result")


class DragRoutes:
    """The routes over some desks."""

    def __init__(self, desks: Desks) -> None:
        """Take the desks; ``close`` puts them away."""
        self.desks = desks
        self._thumbnails, self._photos = Thumbnails(desks.generators), Photos()

    def routes(self) -> list[BaseRoute]:
        """Give the routes.

        ``/api/drag`` lists generators and sessions; ``/thumbnail`` shows a seed; ``/photos`` takes a photo,
        whose square becomes a session; ``/sessions`` begins one;
        ``/sessions/KEY`` deletes it; below it are its mask, its thumbnail, its exports and the socket.
        """
        one = f"{PREFIX}/sessions/{{key}}"
        return [
            _route(PREFIX, "GET", self.offers),
            _route(f"{PREFIX}/thumbnail", "GET", self.thumbnail),
            _route(PHOTOS, "POST", self.photo),
            _route(f"{PHOTOS}/{{photo}}", "GET", self.show_photo),
            _route(f"{PHOTOS}/{{photo}}", "POST", self.invert),
            _route(f"{PREFIX}/sessions", "POST", self.begin),
            _route(one, "GET", self.look),
            _route(one, "DELETE", self.remove),
            _route(f"{one}/thumbnail", "GET", self.kept_thumbnail),
            _route(f"{one}/mask", "GET", self.mask),
            _route(f"{one}/mask", "PUT", self.set_mask),
            _route(f"{one}/mask", "DELETE", self.clear_mask),
            _route(f"{one}/{{name}}", "GET", self.export),
            WebSocketRoute(f"{one}/live", self.live),
        ]

    async def close(self) -> None:
        """Put all desks away."""
        self._thumbnails.close()
        self._photos.close()
        await run_in_threadpool(self.desks.close)

    async def offers(self, _: Request) -> Response:
        def look() -> dict[str, Any]:
            return {"generators": list(self.desks.generators.folders()), "sessions": self.desks.summaries()}

        return _json(await run_in_threadpool(look))

    async def thumbnail(self, request: Request) -> Response:
        asked = _read_query(request)
        content = await asyncio.wrap_future(self._thumbnails.ask(asked))
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    async def begin(self, request: Request) -> Response:
        check_json(request.headers)
        asked = read_fields(Begin, parse_object(await request.body()))
        desk = await run_in_threadpool(self.desks.begin, asked)
        return _json({"key": desk.key}, 201)

    async def photo(self, request: Request) -> Response:
        check_type(request.headers, BINARY)
        return _json(await asyncio.wrap_future(self._photos.ask(await request.body())), 201)

    async def show_photo(self, request: Request) -> Response:
        content = await run_in_threadpool(self._photos.shown, request.path_params["photo"])
        return Response(content, media_type="image/jpeg")

    async def invert(self, request: Request) -> Response:
        check_json(request.headers)
        asked = read_fields(Place, parse_object(await request.body()))
        held = self._photos.find(request.path_params["photo"])
        desk = await run_in_threadpool(self.desks.invert, held, asked)
        return _json({"key": desk.key}, 201)

    async def look(self, request: Request) -> Response:
        desk = await self._find(request)
        return _json({"key": desk.key, **desk.status()})

    async def remove(self, request: Request) -> Response:
        await run_in_threadpool(self.desks.remove, request.path_params["key"])
        return Response(status_code=204)

    async def kept_thumbnail(self, request: Request) -> Response:
        content = await run_in_threadpool(self.desks.kept.thumbnail, request.path_params["key"])
        return Response(content, media_type="image/jpeg")

    async def mask(self, request: Request) -> Response:
        desk = await self._find(request)
        mask = await _done(desk, lambda drawing: drawing.mask)
        if mask is None:
            raise MissingError("there is no mask: everything may move.")
        return Response(pack(mask), media_type=BINARY)

    async def set_mask(self, request: Request) -> Response:
        check_type(request.headers, BINARY)
        body, desk = await request.body(), await self._find(request)
        await _done(desk, lambda drawing: desk.set_mask(unpack(body, drawing.generator.resolution)))
        return Response(status_code=204)

    async def clear_mask(self, request: Request) -> Response:
        desk = await self._find(request)
        await _done(desk, lambda _: desk.set_mask(None))
        return Response(status_code=204)

    async def export(self, request: Request) -> Response:
        export, desk = export_of(request.path_params["name"]), await self._find(request)
        content = await _done(desk, lambda drawing: export.make(desk, drawing))
        name = f"{desk.key}-{request.path_params['name']}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type=export.media_type, headers=headers)

    async def live(self, socket: WebSocket) -> None:
        """Let a browser look on; what cannot be opened is told before the socket is."""
        try:
            desk = await run_in_threadpool(self.desks.find, socket.path_params["key"])
        except TrimtabError as error:
            await socket.send_denial_response(_refusal(error).response())
            return
        await Live(socket, desk).run()

    async def _find(self, request: Request) -> Desk:
        return await run_in_threadpool(self.desks.find, request.path_params["key"])


async def _done(desk: Desk, job: Callable[[Drawing], Result]) -> Result:
    """Let a desk's thread do something and wait for it."""
    future: Future[Result] = desk.ask(lambda: job(desk.pause_now()))
    return await asyncio.wrap_future(future)


def _route(path: str, method: str, endpoint: Endpoint) -> Route:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (UsageError, FormatError, NonFiniteError) as error:
            return _refusal(error).response()

    return Route(path, answer, methods=[method], include_in_schema=False)


def _refusal(error: TrimtabError) -> ApiError:
    if isinstance(error, ApiError):
        return error
    status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 400)
    return ApiError(status, str(error))


def _read_query(request: Request) -> Thumbnail:
    given: dict[str, Any] = dict(request.query_params)
    for name, kind in (("seed", int), ("truncation", float)):
        if name in given and len(given[name]) <= 20:
            try:
                given[name] = kind(given[name])
            except ValueError:
                continue  # refused as it stands
    return read_fields(Thumbnail, given)


def _json(document: Any, status: int = 200) -> Response:
    text = json.dumps(document, allow_nan=False)
    return Response(text, status, media_type="application/json", headers={"Cache-Control": "no-store"})
