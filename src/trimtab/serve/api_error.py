"""Errors as clients of OpenAI's interface expect them: a status and one JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import JSONResponse

from trimtab.core.errors import TrimtabError, UsageError
from trimtab.text.engine.matcher import GrammarError

KINDS: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
CLIENT_KIND: Final = "invalid_request_error"


class ApiError(TrimtabError):
    """What a client is told instead of an answer.

    Attributes:
        status: of HTTP.
        param: which field of the request is meant.
        code: a word that programs can rely on.
        headers: sent besides.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Put it together; the message says what was received, what is allowed and what to do next."""
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """Give the body."""
        kind = KINDS.get(self.status, CLIENT_KIND)
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Give the whole response."""
        return JSONResponse(self.document(), self.status, self.headers)


def as_api_error(error: TrimtabError) -> ApiError:
    """Tell whether the request or the server is at fault, and say so."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UsageError | GrammarError):
        return ApiError(400, str(error))
    return ApiError(500, str(error), code="generation_failed")
