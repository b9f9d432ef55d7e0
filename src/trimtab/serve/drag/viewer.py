"""A browser that looks on: it gets the newest there is, one parcel at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from trimtab.serve.drag.encoding import Flags, Shot

MOST_NOTES: Final = 8


@dataclass(frozen=True)
class Parcel:
    """What is sent at once: how things stand, and the frames that are new."""

    status: dict[str, Any]
    shots: tuple[Shot, ...]


class Viewer:
    """The place where a worker leaves what is new and a socket takes it from.

    What was not taken in time is replaced by what is newer; only notes are gathered.
    """

    def __init__(self) -> None:
        """Belong to the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._something = asyncio.Event()
        self._status: dict[str, Any] | None = None
        self._shots: dict[bool, Shot] = {}
        self._notes: list[Mapping[str, str]] = []
        self._ended: asyncio.Future[str] = self._loop.create_future()

    def offer(self, status: Mapping[str, Any], shots: Sequence[Shot], notes: Sequence[Mapping[str, str]]) -> None:
        """Leave something; for any thread."""
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody looks on any more
            self._loop.call_soon_threadsafe(self._put, dict(status), tuple(shots), tuple(notes))

    async def take(self) -> Parcel:
        """Wait until there is something, and take it."""
        await self._something.wait()
        self._something.clear()
        assert self._status is not None
        parcel = Parcel({**self._status, "notes": self._notes}, tuple(self._shots.values()))
        self._shots, self._notes = {}, []
        return parcel

    def end(self, reason: str) -> None:
        """Say that nothing more will come; for any thread."""
        with suppress(RuntimeError):  # as above
            self._loop.call_soon_threadsafe(self._end, reason)

    async def ended(self) -> str:
        """Wait until nothing more will come; give the reason."""
        return await asyncio.shield(self._ended)

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    def _put(self, status: dict[str, Any], shots: tuple[Shot, ...], notes: tuple[Mapping[str, str], ...]) -> None:
        self._status = status
        for shot in shots:
            self._shots[bool(shot.flags & Flags.START)] = shot
        self._notes = [*self._notes, *notes][-MOST_NOTES:]
        self._something.set()
