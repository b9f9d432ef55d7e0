"""What clients may send, field by field; nothing is guessed or converted."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import Field

from trimtab.serve.api_error import ApiError
from trimtab.serve.fields import Strict, read_fields
from trimtab.serve.strict_json import parse_object
from trimtab.serve.unsupported import without_unsupported
from trimtab.text.engine.request import ABOVE_LOW, MAX_STOP_CHARACTERS, MAX_STOPS, NUMBERS, WHOLE_NUMBERS

MAX_MESSAGES: Final = 4096
MAX_ANSWERS: Final = 128
MAX_NAME_CHARACTERS: Final = 512


class TextPart(Strict):
    """A piece of a message; other kinds than text are not taken."""

    type: Literal["text"]
    text: str


class Message(Strict):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = Field(None, description="Ignored.")

    @property
    def text(self) -> str:
        """The whole content."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(Strict):
    """What a stream tells besides text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(None, description="Ignored.")


class Schema(Strict):
    """A JSON schema with its name."""

    name: str = Field(max_length=MAX_NAME_CHARACTERS)
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = Field(None, description="Ignored: a schema is always kept to.")


class TextFormat(Strict):
    """Anything."""

    type: Literal["text"]


class JsonFormat(Strict):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Strict):
    """JSON that a schema allows."""

    type: Literal["json_schema"]
    json_schema: Schema


ResponseFormat: TypeAlias = Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")]


def _number(name: str) -> Any:
    low, high = NUMBERS[name]
    return Field(None, gt=low, le=high) if name in ABOVE_LOW else Field(None, ge=low, le=high)


def _whole_number(name: str) -> Any:
    low, high = WHOLE_NUMBERS[name]
    return Field(None, ge=low, le=high)


StopText: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]


class Asked(Strict):
    """What both interfaces share; null is as good as absent."""

    model: str = Field(max_length=MAX_NAME_CHARACTERS, description="One of /v1/models.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=MAX_ANSWERS)
    max_tokens: int | None = _whole_number("max_tokens")
    temperature: float | None = _number("temperature")
    top_p: float | None = _number("top_p")
    top_k: int | None = _whole_number("top_k")
    min_p: float | None = _number("min_p")
    repetition_penalty: float | None = _number("repetition_penalty")
    presence_penalty: float | None = _number("presence_penalty")
    frequency_penalty: float | None = _number("frequency_penalty")
    seed: int | None = _whole_number("seed")
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    response_format: ResponseFormat | None = None

    @property
    def answers(self) -> int:
        """How many answers to a prompt are asked for."""
        return self.n or 1


class ChatAsked(Asked):
    """Body of /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: int | None = _whole_number("max_tokens")
    logprobs: bool | None = None
    top_logprobs: int | None = _whole_number("logprobs")


Token: TypeAlias = Annotated[int, Field(ge=0, le=WHOLE_NUMBERS["seed"][1])]
Tokens: TypeAlias = Annotated[list[Token], Field(min_length=1)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]


class CompletionAsked(Asked):
    """Body of /v1/completions; a prompt is text or token ids, or a list of either."""

    prompt: (
        Text
        | Tokens
        | Annotated[list[Text], Field(min_length=1, max_length=MAX_ANSWERS)]
        | Annotated[list[Tokens], Field(min_length=1, max_length=MAX_ANSWERS)]
    )
    logprobs: int | None = _whole_number("logprobs")


AskedKind = TypeVar("AskedKind", bound=Asked)


def read_asked(kind: type[AskedKind], body: bytes) -> AskedKind:
    """Read a request's body.

    Raises:
        ApiError: 400, the body or a field of it is not allowed.
    """
    document = without_unsupported(parse_object(body))
    asked = read_fields(kind, document)
    if asked.stream_options is not None and not asked.stream:
        raise ApiError(400, "stream_options without stream: allowed only with stream = true.", param="stream_options")
    return asked
