"""All desks of a server: those that are open, and those that are kept and can be opened again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import MissingError
from trimtab.drag.recipe import Start
from trimtab.drag.session import Session
from trimtab.drag.stored import start_styles
from trimtab.serve.api_error import ApiError
from trimtab.serve.drag.desk import Desk
from trimtab.serve.drag.drawing import Drawing
from trimtab.serve.drag.generators import Generators
from trimtab.serve.drag.kept import Kept
from trimtab.serve.drag.messages import Begin

MOST_OPEN: Final = 4


class Desks:
    """For any thread; methods may wait for a desk to be put away.

    Attributes:
        generators: what is offered.
        kept: what is on disk.
    """

    def __init__(self, generators: Generators, root: Path) -> None:
        """Begin with no desk open.

        Args:
            generators: what is offered.
            root: folder for sessions.
        """
        self.generators, self.kept = generators, Kept(root)
        self._open: dict[str, Desk] = {}
        self._changing = threading.RLock()

    def begin(self, asked: Begin) -> Desk:
        """Open a new picture.

        Raises:
            MissingError: the generator is not offered.
            ApiError: 429, too many are open.
        """
        self.generators.check(asked.generator)
        start = Start(asked.seed, asked.truncation)

        def opening(_: Desk) -> Drawing:
            loaded = self.generators.load(asked.generator)
            with loaded.turns.taken():
                return Drawing(loaded, start, Session(loaded.generator, start_styles(loaded.generator, start)))

        return self.add(opening)

    def add(self, opening: Callable[[Desk], Drawing]) -> Desk:
        """Open a desk of a new name.

        Raises:
            ApiError: 429, too many are open.
        """
        return self._add(self.kept.new_key(), opening)

    def find(self, key: str) -> Desk:
        """Give a desk, opened again where it is kept only.

        Raises:
            MissingError: there is none of that name, or its generator is not offered.
            FormatError: what is kept is damaged.
            ApiError: 429, too many are open.
        """
        with self._changing:
            if key in self._open:
                return self._open[key]
            name = self.kept.generator_of(key)
            self.generators.check(name)

            def opening(desk: Desk) -> Drawing:
                loaded = self.generators.load(name)
                with loaded.turns.taken():
                    return desk.kept.load(loaded)

            return self._add(key, opening)

    def summaries(self) -> list[dict[str, Any]]:
        """Describe what is kept, and whether each is open."""
        return [{**one, "open": one["key"] in self._open} for one in self.kept.summaries()]

    def remove(self, key: str) -> None:
        """Put a session away and delete it.

        Raises:
            MissingError: there is none of that name.
        """
        with self._changing:
            if key not in self._open and not self.kept.folder(key).path.is_dir():
                raise MissingError(f"the drag {key[:40]} is gone already.")
            if desk := self._open.pop(key, None):
                desk.stop()
                desk.wait()
            self.kept.remove(key)

    def close(self) -> None:
        """Put all away."""
        with self._changing:
            desks = list(self._open.values())
            self._open.clear()
        for desk in desks:
            desk.stop()
        for desk in desks:
            desk.wait()

    def _add(self, key: str, opening: Callable[[Desk], Drawing]) -> Desk:
        with self._changing:
            if len(self._open) >= MOST_OPEN:
                self._make_room()
            desk = self._open[key] = Desk(key, opening, self.kept.folder(key))
            return desk

    def _make_room(self) -> None:
        idle = [desk for desk in self._open.values() if not desk.watched and not desk.busy]
        if not idle:
            message = (
                f"{len(self._open)} pictures are at work, which is the most. Close the page of one, and try again."
            )
            raise ApiError(429, message, code="too_many_open")
        oldest = min(idle, key=lambda desk: desk.used_s)
        del self._open[oldest.key]
        oldest.stop()
        oldest.wait()
