"""The one app: OpenAI's interface over a service, the page, and what operators read."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from trimtab.core.errors import TrimtabError
from trimtab.serve import page, runs
from trimtab.serve.answering import answer
from trimtab.serve.api_error import ApiError, as_api_error
from trimtab.serve.drag.desks import Desks
from trimtab.serve.drag.routes import LARGER, DragRoutes
from trimtab.serve.guard import Guard, Rules
from trimtab.serve.limits import Limits, check_json
from trimtab.serve.messages import AskedKind, ChatAsked, CompletionAsked, read_asked
from trimtab.serve.metrics import CONTENT_TYPE, Metrics, prometheus
from trimtab.serve.openai_chat import Chat
from trimtab.serve.openai_completions import Completions
from trimtab.serve.openapi import describe
from trimtab.serve.replies import HealthReply, ModelReply, ModelsReply
from trimtab.serve.service import Service

OPEN_PATHS: Final = frozenset(("/health",))
"""What needs no token besides the page's files, which hold nothing secret."""

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(
    service: Service | None,
    *,
    token: str | None = None,
    hosts: Sequence[str] = (),
    runs_folder: Path | None = None,
    desks: Desks | None = None,
) -> Starlette:
    """Put the app together.

    Args:
        service: answers; None serves the page and runs only.
        token: must come with every request but those for ``/health`` and the page's files; None asks for none.
        hosts: names besides those of this machine under which it may be called; "*" stands for every number address.
        runs_folder: holds run folders to be shown; None shows none.
        desks: where pictures are dragged; None offers none.
    """
    drag = None if desks is None else DragRoutes(desks)
    face = _Face(service, drag)
    rules = Rules(token=token, hosts=frozenset(hosts), open_paths=OPEN_PATHS | page.public_paths())
    app = Starlette(
        routes=[
            *face.routes(),
            *page.routes(),
            *([] if runs_folder is None else runs.routes(runs_folder)),
            *([] if drag is None else drag.routes()),
        ],
        lifespan=face.lifespan,
        middleware=[Middleware(Guard, rules=rules, metrics=face.metrics), Middleware(Limits, larger=LARGER)],
        exception_handlers={TrimtabError: _tell, HTTPException: _tell_http},
    )
    app.state.service = service
    return app


class _Face:
    """The routes that are not the page's."""

    def __init__(self, service: Service | None, drag: DragRoutes | None) -> None:
        self._service, self._drag = service, drag
        self.metrics = Metrics() if service is None else service.metrics
        self._began = int(time.time())

    def routes(self) -> list[Route]:
        return [
            Route("/health", self.health, methods=["GET"]),
            Route("/metrics", self.show_metrics, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{model:path}", self.model, methods=["GET"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.completions, methods=["POST"]),
        ]

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        if self._service is not None:
            self._service.start()
        try:
            yield
        finally:
            if self._service is not None:
                await self._service.stop()
            if self._drag is not None:
                await self._drag.close()

    async def health(self, _: Request) -> Response:
        status: Literal["ok", "stopping", "failed"] = "ok"
        if self._service is not None and self._service.draining:
            status = "stopping"
        elif self._service is not None and not self._service.alive:
            status = "failed"
        return _json(HealthReply(status=status), status=200 if status == "ok" else 503)

    async def show_metrics(self, _: Request) -> Response:
        gauges: dict[str, float] = {}
        tokens: dict[str, int] = {}
        if (service := self._service) is not None:
            gauges = {"open_answers": service.taken, "queue_limit": service.queue}
            gauges["kept_bytes"] = service.engine.kept_bytes
            tokens = asdict(service.engine.counters)
        return PlainTextResponse(prometheus(self.metrics, gauges, tokens), media_type=CONTENT_TYPE)

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(describe([] if self._service is None else self._service.names.all()))

    async def models(self, _: Request) -> Response:
        names = [] if self._service is None else self._service.names.all()
        return _json(ModelsReply(data=[self._describe(name) for name in names]))

    async def model(self, request: Request) -> Response:
        return _json(self._describe(self._running().names.check(request.path_params["model"])))

    async def chat(self, request: Request) -> Response:
        asked = await _read(request, ChatAsked)
        return await answer(request, self._running(), asked, Chat())

    async def completions(self, request: Request) -> Response:
        asked = await _read(request, CompletionAsked)
        return await answer(request, self._running(), asked, Completions())

    def _describe(self, name: str) -> ModelReply:
        base = self._running().names.base
        return ModelReply(id=name, created=self._began, parent=None if name == base else base)

    def _running(self) -> Service:
        if self._service is None:
            message = "no model is served here. Start the server with one: trimtab serve MODEL"
            raise ApiError(404, message, param="model", code="model_not_found")
        return self._service


async def _read(request: Request, kind: type[AskedKind]) -> AskedKind:
    check_json(request.headers)
    return read_asked(kind, await request.body())


def _json(reply: BaseModel, *, status: int = 200) -> Response:
    return Response(reply.model_dump_json(), status, media_type="application/json")


async def _tell(_: Request, error: Any) -> Response:
    return as_api_error(error).response()


async def _tell_http(request: Request, error: Any) -> Response:
    messages = {
        404: f"{request.url.path:.100}: nothing is here. /openapi.json lists what is.",
        405: f"{request.method:.20} {request.url.path:.100}: not allowed. Allowed: {_allowed(error)}.",
    }
    message = messages.get(error.status_code, f"{error.detail}.")
    code = "method_not_allowed" if error.status_code == 405 else "not_found"
    return ApiError(error.status_code, message, code=code, headers=error.headers).response()


def _allowed(error: HTTPException) -> str:
    return (error.headers or {}).get("Allow", "another method")
