"""Server-sent events, and noticing that nobody listens any more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from trimtab.core.errors import TrimtabError
from trimtab.serve.api_error import as_api_error
from trimtab.serve.metrics import Metrics
from trimtab.serve.service import Job

DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def cancelled_when_gone(receive: Receive, job: Job, metrics: Metrics) -> AsyncIterator[None]:
    """Cancel a job when its client goes while the block runs; the body must have been read."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        metrics.clients_gone += 1
        job.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher


class EventStream(Response):
    """A reply that is sent while it is written; owns the job, and closes it whatever happens."""

    def __init__(self, chunks: AsyncGenerator[BaseModel, None], job: Job, metrics: Metrics) -> None:
        """Take what will be sent."""
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._chunks, self._job, self._metrics = chunks, job, metrics

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Send everything; an error that comes too late for a status is sent as an event."""
        try:
            async with cancelled_when_gone(receive, self._job, self._metrics):
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                last = await self._send_chunks(send)
            await send(_body(last, more=False))
        finally:
            self._job.close()

    async def _send_chunks(self, send: Send) -> bytes:
        """Send all but the last event, and give that one."""
        try:
            async with aclosing(self._chunks) as chunks:
                async for chunk in chunks:
                    await send(_body(f"data: {chunk.model_dump_json()}\n\n".encode(), more=True))
        except TrimtabError as error:
            return f"data: {json.dumps(as_api_error(error).document())}\n\n".encode()
        return DONE


def _body(content: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": more}
