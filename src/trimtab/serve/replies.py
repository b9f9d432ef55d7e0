"""What clients get, field by field, in the shapes of OpenAI's interface."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

FinishReason: TypeAlias = Literal["stop", "length"]


class _Reply(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PromptTokensDetails(_Reply):
    """Where a prompt's tokens came from."""

    cached_tokens: int


class UsageReply(_Reply):
    """Tokens of all answers to a request; a prompt counts once, however many answers it has."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class TopLogprob(_Reply):
    """A token that could have been chosen."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatLogprob(TopLogprob):
    """A token that was chosen."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(_Reply):
    """One entry a token, the end token included."""

    content: list[ChatLogprob]
    refusal: None = None


class CompletionLogprobs(_Reply):
    """One entry a token in each list, the end token included; offsets count from where the answer begins."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class AssistantMessage(_Reply):
    """A whole answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Delta(_Reply):
    """More of an answer; fields that are absent stay as they were."""

    role: Literal["assistant"] | None = None
    content: str | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, str]:
        return {name: value for name, value in write(self).items() if value is not None}


class ChatChoice(_Reply):
    """One of n answers."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatChunkChoice(_Reply):
    """More of one of n answers."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class CompletionChoice(_Reply):
    """One of the answers, or more of it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class _Part(_Reply):
    """A reply, or an event of a stream: what stands in all of them."""

    id: str
    created: int
    model: str


class ChatReply(_Part):
    """A whole reply of /v1/chat/completions."""

    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]
    usage: UsageReply


class ChatChunk(_Part):
    """One event of a streamed chat; the last one may hold usage and no choices."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: list[ChatChunkChoice]
    usage: UsageReply | None = None


class CompletionReply(_Part):
    """A whole reply of /v1/completions, or one event of its stream."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[CompletionChoice]
    usage: UsageReply | None = None


class ModelReply(_Reply):
    """A model that can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["trimtab"] = "trimtab"
    parent: str | None


class ModelsReply(_Reply):
    """All of them, the base first."""

    object: Literal["list"] = "list"
    data: list[ModelReply]


class HealthReply(_Reply):
    """Whether requests are taken; "failed" is a server that must be started anew."""

    status: Literal["ok", "stopping", "failed"]


class ErrorDetail(_Reply):
    """What was received, what is allowed and what to do next; the type and code are for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(_Reply):
    """Every reply that is no answer."""

    error: ErrorDetail
