"""Fields of JSON from strangers: nothing is guessed or converted, and what is wrong is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from trimtab.core.errors import did_you_mean
from trimtab.serve.api_error import ApiError


class Strict(BaseModel):
    """What a client may send: these fields, of these very types."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


Asked = TypeVar("Asked", bound=Strict)


def read_fields(kind: type[Asked], document: Mapping[str, Any]) -> Asked:
    """Take fields from a JSON object.

    Raises:
        ApiError: 400, a field is not allowed.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise _refusal(kind, document, error) from error


def _refusal(kind: type[BaseModel], document: Mapping[str, Any], error: ValidationError) -> ApiError:
    """Say what is wrong with the one field that pydantic followed deepest."""
    details = error.errors(include_url=False, include_context=False)
    routes = [_route(document, detail["loc"]) for detail in details]
    deepest = max(range(len(routes)), key=lambda index: len(routes[index]))
    param = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in routes[deepest]).lstrip(".")
    same = [detail for detail, route in zip(details, routes, strict=True) if route == routes[deepest]]
    if same[0]["type"] == "extra_forbidden":
        remedy = did_you_mean(str(routes[deepest][-1]), kind.model_fields) if len(routes[deepest]) == 1 else ""
        return ApiError(400, f"{param:.200}: no such field. {remedy}".rstrip(), param=param[:200], code="unknown_field")
    if same[0]["type"] == "missing":
        return ApiError(400, f"{param}: missing. It must be given.", param=param, code="missing_field")
    allowed = " or ".join(dict.fromkeys(_allowed(detail["msg"]) for detail in same))
    received = f"{same[0]['input']!r:.80}"
    return ApiError(400, f"{param} = {received}: allowed is {allowed}.", param=param, code="invalid_value")


def _route(document: Any, loc: Sequence[int | str]) -> tuple[int | str, ...]:
    """Keep the steps that lead down the document; pydantic puts the names of alternatives between them.

    The last step may lead to a field that is absent.
    """
    route: list[int | str] = []
    for place, step in enumerate(loc):
        if _leads_down(document, step):
            document = document[step]
        elif not (isinstance(document, dict) and place == len(loc) - 1):
            continue
        route.append(step)
    return tuple(route)


def _leads_down(document: Any, step: int | str) -> bool:
    if isinstance(step, int):
        return isinstance(document, list) and step < len(document)
    return isinstance(document, dict) and step in document


def _allowed(message: str) -> str:
    """Turn pydantic's "Input should be a valid string" into the second half of a sentence."""
    return message.removeprefix("Input should be ").removeprefix("Input should ")
