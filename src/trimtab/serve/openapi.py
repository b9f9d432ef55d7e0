"""The description of the interface, from the very types that check it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from trimtab import __version__
from trimtab.serve.messages import ChatAsked, CompletionAsked
from trimtab.serve.replies import (
    ChatChunk,
    ChatReply,
    CompletionReply,
    ErrorReply,
    HealthReply,
    ModelReply,
    ModelsReply,
)

REFERENCE: Final = "#/components/schemas/{model}"
ASKED: Final = (ChatAsked, CompletionAsked)
REPLIED: Final = (ChatReply, ChatChunk, CompletionReply, ErrorReply, HealthReply, ModelReply, ModelsReply)
REFUSALS: Final = {
    "400": "The request is not allowed as it stands.",
    "401": "The token is missing or wrong.",
    "403": "Host or Origin is not allowed.",
    "404": "There is no such model.",
    "408": "The body came too slowly.",
    "413": "The body is too large.",
    "415": "The body is not JSON by its header.",
    "429": "The queue is full; Retry-After says when to try again.",
    "503": "The server is stopping.",
}


def describe(models: Sequence[str]) -> dict[str, Any]:
    """Give the OpenAPI 3.1 document of a server.

    Args:
        models: names that are served.
    """
    asked = [(kind, "validation") for kind in ASKED]
    replied = [(kind, "serialization") for kind in REPLIED]
    _, definitions = models_json_schema([*asked, *replied], ref_template=REFERENCE)  # type: ignore[list-item]
    for kind in ASKED:
        definitions["$defs"][kind.__name__]["properties"]["model"] = {"type": "string", "enum": list(models)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "trimtab", "version": __version__},
        "paths": {
            "/health": {"get": _get("Whether requests are taken.", HealthReply, refusals=("403", "503"))},
            "/metrics": {"get": _get_text("Counts in Prometheus' format.")},
            "/v1/models": {"get": _get("The base and its adapters.", ModelsReply)},
            "/v1/models/{model}": {
                "get": _get("One of them.", ModelReply, refusals=("401", "403", "404"))
                | {"parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]}
            },
            "/v1/chat/completions": {"post": _post("Answer a conversation.", ChatAsked, ChatReply, ChatChunk)},
            "/v1/completions": {"post": _post("Continue a text.", CompletionAsked, CompletionReply, CompletionReply)},
        },
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _get(summary: str, reply: type[BaseModel], *, refusals: tuple[str, ...] = ("401", "403")) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": _content("Done.", reply), **_refusals(refusals)}}


def _get_text(summary: str) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    done = {"200": {"description": "Done.", "content": content}}
    return {"summary": summary, "responses": {**done, **_refusals(("401", "403"))}}


def _post(summary: str, asked: type[BaseModel], reply: type[BaseModel], chunk: type[BaseModel]) -> dict[str, Any]:
    done = _content("Done; with stream = true as server-sent events.", reply)
    done["content"]["text/event-stream"] = {"schema": _event(chunk)}
    body = {"required": True, "content": {"application/json": {"schema": _reference(asked)}}}
    return {"summary": summary, "requestBody": body, "responses": {"200": done, **_refusals(tuple(REFUSALS))}}


def _event(chunk: type[BaseModel]) -> dict[str, Any]:
    """Describe each event of a stream; the last one says [DONE] in place of JSON."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": _reference(chunk)}
    return {"type": "object", "properties": {"data": {"anyOf": [data, {"const": "[DONE]"}]}}, "required": ["data"]}


def _refusals(statuses: tuple[str, ...]) -> dict[str, Any]:
    return {status: _content(REFUSALS[status], ErrorReply) for status in statuses}


def _content(description: str, reply: type[BaseModel]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _reference(reply)}}}


def _reference(kind: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=kind.__name__)}
