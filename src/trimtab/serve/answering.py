"""From a request's body to its answers, whole or streamed, for both of OpenAI's interfaces."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from trimtab.serve.api_error import ApiError, as_api_error
from trimtab.serve.event_stream import EventStream, cancelled_when_gone
from trimtab.serve.messages import Asked
from trimtab.serve.replies import FinishReason, PromptTokensDetails, UsageReply
from trimtab.serve.service import Job, Service
from trimtab.text.engine import Event, Finished, Piece, Request, Usage

AskedKind_contra = TypeVar("AskedKind_contra", bound=Asked, contravariant=True)
AskedKind = TypeVar("AskedKind", bound=Asked)


@dataclass(frozen=True)
class Head:
    """What stands in every part of a reply."""

    id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))


@dataclass
class Collected:
    """What has come of one answer so far."""

    pieces: list[Piece] = field(default_factory=list)
    finished: Finished | None = None

    @property
    def text(self) -> str:
        """All text."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def usage(self) -> Usage:
        """Its cost, once it has ended."""
        assert self.finished is not None  # read after the last event
        return self.finished.usage

    @property
    def reason(self) -> FinishReason:
        """How it ended."""
        assert self.finished is not None
        return finish_reason(self.finished)


class Writer(Protocol):
    """Writes the replies to one request."""

    def opening(self, index: int) -> BaseModel | None:
        """Give what comes before the first piece of an answer, if anything."""

    def piece(self, index: int, piece: Piece) -> BaseModel:
        """Give more of an answer."""

    def closing(self, index: int, finished: Finished) -> BaseModel:
        """Give the end of an answer."""

    def usage(self, usage: UsageReply) -> BaseModel:
        """Give what follows all answers for those who asked for it."""

    def whole(self, answers: Sequence[Collected], usage: UsageReply) -> BaseModel:
        """Give everything at once."""


class Interface(Protocol, Generic[AskedKind_contra]):
    """What differs between the interfaces."""

    def count(self, asked: AskedKind_contra) -> int:
        """Tell how many answers are asked for."""

    def requests(self, asked: AskedKind_contra, service: Service) -> list[Request]:
        """Write them for the engine; runs in the thread that may use the tokenizer."""

    def writer(self, asked: AskedKind_contra, service: Service) -> Writer:
        """Give the writer of the replies."""


async def answer(http: HttpRequest, service: Service, asked: AskedKind, interface: Interface[AskedKind]) -> Response:
    """Answer a request that has been read.

    Raises:
        ApiError: it cannot be answered.
    """
    began = time.perf_counter()
    service.names.check(asked.model)
    job = service.admit(interface.count(asked))
    try:
        async with cancelled_when_gone(http.receive, job, service.metrics):
            job.start(await service.prepare(lambda: _checked(interface.requests(asked, service), service)))
            writer = interface.writer(asked, service)
            events = job.events()
            first = await anext(events)
            _raise_if_failed(first[1])
            service.metrics.note_first_token(time.perf_counter() - began)
            if not asked.stream:
                return await _whole(writer, events, first, asked, job)
    except BaseException:
        job.close()
        raise
    with_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
    return EventStream(_chunks(writer, events, first, asked, with_usage=with_usage), job, service.metrics)


def finish_reason(finished: Finished) -> FinishReason:
    """Name an end as OpenAI does; an end that is none was raised before."""
    return "length" if finished.reason == "length" else "stop"


def _checked(requests: list[Request], service: Service) -> list[Request]:
    """Refuse here what the engine would: its thread then compiles no constraints while others wait for tokens."""
    for request in requests:
        service.engine.check(request)
    return requests


def _usage(answers: Sequence[Collected], per_prompt: int) -> UsageReply:
    firsts = [answer.usage for answer in answers[::per_prompt]]
    prompt, generated = sum(usage.prompt for usage in firsts), sum(answer.usage.generated for answer in answers)
    return UsageReply(
        prompt_tokens=prompt,
        completion_tokens=generated,
        total_tokens=prompt + generated,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=sum(usage.reused for usage in firsts)),
    )


def _raise_if_failed(event: Event) -> None:
    if not isinstance(event, Finished) or event.reason in ("stop", "length"):
        return
    if event.error is not None:
        raise as_api_error(event.error)
    raise ApiError(503, "the server is stopping, and ended this answer. Ask again later.", code="stopping")


async def _whole(
    writer: Writer, events: AsyncIterator[tuple[int, Event]], first: tuple[int, Event], asked: Asked, job: Job
) -> Response:
    answers = [Collected() for _ in range(job.count)]
    async for index, event in _after(first, events):
        _raise_if_failed(event)
        _collect(answers[index], event)
    job.close()
    reply = writer.whole(answers, _usage(answers, asked.answers))
    return Response(reply.model_dump_json(), media_type="application/json")


async def _chunks(
    writer: Writer,
    events: AsyncIterator[tuple[int, Event]],
    first: tuple[int, Event],
    asked: Asked,
    *,
    with_usage: bool,
) -> AsyncGenerator[BaseModel, None]:
    answers: dict[int, Collected] = {}
    async for index, event in _after(first, events):
        _raise_if_failed(event)
        if index not in answers:
            answers[index] = Collected()
            if (opening := writer.opening(index)) is not None:
                yield opening
        if isinstance(event, Finished):
            answers[index].finished = event
            yield writer.closing(index, event)
        elif event.text or event.logprobs:
            yield writer.piece(index, event)
    if with_usage:
        yield writer.usage(_usage([answers[index] for index in sorted(answers)], asked.answers))


def _collect(answer: Collected, event: Event) -> None:
    if isinstance(event, Finished):
        answer.finished = event
    else:
        answer.pieces.append(event)


async def _after(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for item in rest:
        yield item
