"""What a client asked for, in the engine's terms."""

from __future__ import annotations

import json
import secrets
from typing import Final

from trimtab.serve.messages import Asked, JsonFormat, SchemaFormat
from trimtab.text.engine import JsonSchema, Sampling
from trimtab.text.engine.request import MAX_TOKENS, with_seeds

DEFAULT_TEMPERATURE: Final = 1.0
ANY_OBJECT: Final = '{"type":"object"}'
MOST_TOKENS_WITHOUT_WINDOW: Final = 4096
AS_THEY_ARE: Final = ("top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
"""Fields that are called the same here and there."""


def samplings_of(asked: Asked, *, max_tokens: int | None, room: int | None, logprobs: int | None) -> list[Sampling]:
    """Choose the tokens of each of the n answers to a prompt as asked; a seed that is not given is drawn.

    Args:
        asked: the request.
        max_tokens: most tokens; all that there is room for where None.
        room: tokens that fit into the window; None where there is no limit.
        logprobs: see ``Sampling``.
    """
    limit = MOST_TOKENS_WITHOUT_WINDOW if room is None else min(room, MAX_TOKENS)
    given = {name: getattr(asked, name) for name in AS_THEY_ARE}
    first = Sampling(
        max_tokens=limit if max_tokens is None else max_tokens,
        temperature=DEFAULT_TEMPERATURE if asked.temperature is None else asked.temperature,
        seed=secrets.randbits(48) if asked.seed is None else asked.seed,
        stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        logprobs=logprobs,
        **{name: value for name, value in given.items() if value is not None},
    )
    return with_seeds(first, asked.answers)


def constraint_of(asked: Asked) -> JsonSchema | None:
    """Give what the answer may look like."""
    match asked.response_format:
        case SchemaFormat(json_schema=named) if named.schema_ is not None:
            return JsonSchema(json.dumps(named.schema_))
        case SchemaFormat() | JsonFormat():
            return JsonSchema(ANY_OBJECT)
        case _:
            return None
