"""Fields of OpenAI's interface that exist elsewhere: ignored where they ask for nothing, refused where they do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trimtab.serve.api_error import ApiError

IGNORED: Final = frozenset(
    (
        "user",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "service_tier",
        "parallel_tool_calls",
    )
)
"""Notes for an operator, or hints; no answer depends on them."""

REFUSED: Final[Mapping[str, tuple[Any, ...]]] = {
    "tools": (),
    "tool_choice": ("none", "auto"),
    "functions": (),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "reasoning_effort": (),
    "verbosity": (),
    "store": (),
    "logit_bias": (),
    "best_of": (1,),
    "echo": (),
    "suffix": (),
}
"""Each with the values that ask for nothing, besides null, false and what is empty."""

REFUSED_IN_MESSAGES: Final[Mapping[str, tuple[Any, ...]]] = {
    "tool_calls": (),
    "tool_call_id": (),
    "function_call": (),
    "audio": (),
    "refusal": (),
    "annotations": (),
    "reasoning_content": (),
}

REMEDIES: Final[Mapping[str, str]] = {
    "best_of": "Use n.",
}


def without_unsupported(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out the fields that ask for nothing, of the request and of its messages.

    Raises:
        ApiError: 400, a field asks for what is not here.
    """
    kept = _supported(document, REFUSED, place="")
    messages = kept.get("messages")
    if isinstance(messages, list):
        kept["messages"] = [
            _supported(message, REFUSED_IN_MESSAGES, place=f"messages[{index}].")
            if isinstance(message, dict)
            else message
            for index, message in enumerate(messages)
        ]
    return kept


def _supported(document: dict[str, Any], refused: Mapping[str, tuple[Any, ...]], *, place: str) -> dict[str, Any]:
    kept = {}
    for name, value in document.items():
        if name in refused:
            if value and not any(value == neutral for neutral in refused[name]):
                remedy = REMEDIES.get(name, "Leave it out.")
                message = f"{place}{name} = {value!r:.80}: not supported by this server. {remedy}"
                raise ApiError(400, message, param=place + name, code="unsupported_parameter")
        elif place or name not in IGNORED:
            kept[name] = value
    return kept
