"""``/api/runs``: training runs for the page, read from their folders. Nothing here writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from trimtab.core.errors import MissingError, RangeError, UsageError
from trimtab.serve.api_error import ApiError
from trimtab.serve.run_files import inside
from trimtab.serve.run_folders import RunFolders, detail, summary
from trimtab.serve.run_metrics import read_rows
from trimtab.train.report.page import REPORT_NAME

REPORT_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
"""A report is a file from a folder: whatever it holds, it runs nothing, sends nothing and belongs to no origin."""
MOST_LINES: Final = 10**9

Answer = Callable[[RunFolders, Request], Response]


def routes(runs_folder: Path) -> list[Route]:
    """Give the routes over the runs below a folder.

    ``/api/runs`` lists them; ``/api/runs/NAME`` gives settings, plan and results; ``.../metrics?after=N`` the
    measurements after N lines; ``.../report`` the report.
    """
    folders = RunFolders(runs_folder)

    def route(path: str, answer: Answer) -> Route:
        def endpoint(request: Request) -> Response:
            try:
                return answer(folders, request)
            except UsageError as error:
                return ApiError(404 if isinstance(error, MissingError) else 400, str(error)).response()

        return Route(path, endpoint, methods=["GET"], include_in_schema=False)

    return [
        route("/api/runs", _list),
        route("/api/runs/{name}", _detail),
        route("/api/runs/{name}/metrics", _metrics),
        route("/api/runs/{name}/report", _report),
    ]


def _list(folders: RunFolders, _: Request) -> Response:
    summaries = []
    for folder in folders.folders():
        try:
            summaries.append(summary(folder))
        except OSError:
            continue  # removed since it was listed
    return _json({"folder": folders.root.name, "runs": summaries})


def _detail(folders: RunFolders, request: Request) -> Response:
    return _json(detail(folders.find(request.path_params["name"])))


def _metrics(folders: RunFolders, request: Request) -> Response:
    after = _line_number(request.query_params.get("after", "0"))
    return _json(vars(read_rows(folders.find(request.path_params["name"]), after=after)))


def _report(folders: RunFolders, request: Request) -> Response:
    name = request.path_params["name"]
    path = inside(folders.find(name), REPORT_NAME)
    if path is None:
        raise MissingError(f"run {name!r} has no report yet. It is written when the run ends.")
    headers = {"Content-Security-Policy": REPORT_POLICY, "Cache-Control": "no-cache"}
    return FileResponse(path, media_type="text/html; charset=utf-8", headers=headers)


def _line_number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= len(str(MOST_LINES))):
        raise RangeError(f"after={word[:40]!r}: expected a whole number from 0 to {MOST_LINES}; leave it out for all.")
    return int(word)


def _json(document: Any) -> Response:
    text = json.dumps(document, allow_nan=False)  # in ASCII: what a file holds need not be text that UTF-8 can carry
    return Response(text, media_type="application/json", headers={"Cache-Control": "no-store"})
