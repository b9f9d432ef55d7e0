"""All desks of a server: those that are open, and those that are kept and can be opened again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import MissingError
from trimtab.drag.invert.align import Placement, align
from trimtab.drag.invert.settings import InvertSettings
from trimtab.drag.recipe import Start
from trimtab.drag.session import Session
from trimtab.drag.stored import start_styles
from trimtab.models.stylegan.preview import shrink
from trimtab.serve.api_error import ApiError
from trimtab.serve.drag.desk import Desk
from trimtab.serve.drag.drawing import Drawing
from trimtab.serve.drag.encoding import jpeg_of
from trimtab.serve.drag.generators import Generators
from trimtab.serve.drag.inverting import open_portrait
from trimtab.serve.drag.kept import THUMBNAIL_PX, Kept
from trimtab.serve.drag.messages import Begin, Place
from trimtab.serve.drag.photos import Held
from trimtab.serve.drag.portraits import Facts, begin_portrait, read_facts

MOST_OPEN: Final = 4


class Desks:
    """For any thread; methods may wait for a desk to be put away.

    Attributes:
        generators: what is offered.
        kept: what is on disk.
    """

    def __init__(self, generators: Generators, root: Path, *, inversion: InvertSettings | None = None) -> None:
        """Begin with no desk open.

        Args:
            generators: what is offered.
            root: folder for sessions.
            inversion: how photos are made pictures; the default where None.
        """
        self.generators, self.kept, self._inversion = generators, Kept(root), inversion or InvertSettings()
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
            if (desk := self._open.get(key)) is not None and not desk.failed:
                return desk
            if desk is not None:
                self._put_away(desk)  # what was in the way may be gone
            opening = self._opening_of(key)
            return self._add(key, opening)

    def invert(self, held: Held, asked: Place) -> Desk:
        """Open a photo as a picture of a generator, which takes minutes.

        Raises:
            MissingError: the generator is not offered.
            RangeError: the square has nothing to do with the photo.
            ApiError: 429, too many are open.
        """
        self.generators.check(asked.generator)
        placement = Placement(asked.x, asked.y, asked.size, asked.angle)
        placement.check(held.photo.width, held.photo.height)
        facts = Facts(asked.generator, held.sha256, astuple(placement))

        def opening(desk: Desk) -> Drawing:
            loaded = self.generators.load(asked.generator)
            desk.kept.hold()
            square = align(held.photo, placement, loaded.generator.resolution)
            begin_portrait(desk.kept.path, square, facts)
            desk.kept.thumbnail = jpeg_of(shrink(square, min(THUMBNAIL_PX, square.shape[-1])))
            desk.kept.save_thumbnail()
            return open_portrait(desk, loaded, facts, self._inversion)

        return self.add(opening)

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
            if desk := self._open.get(key):
                self._put_away(desk)
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
        for desk in [desk for desk in self._open.values() if desk.failed]:
            self._put_away(desk)
        if len(self._open) < MOST_OPEN:
            return
        idle = [desk for desk in self._open.values() if not desk.watched and not desk.busy]
        if not idle:
            message = (
                f"{len(self._open)} pictures are at work, which is the most. Close the page of one, and try again."
            )
            raise ApiError(429, message, code="too_many_open")
        oldest = min(idle, key=lambda desk: desk.used_s)
        self._put_away(oldest)

    def _put_away(self, desk: Desk) -> None:
        del self._open[desk.key]
        desk.stop()
        desk.wait()

    def _opening_of(self, key: str) -> Callable[[Desk], Drawing]:
        """Give what opens a session that is kept."""
        facts = read_facts(self.kept.folder(key).path)
        name = self.kept.generator_of(key) if facts is None else facts.generator
        self.generators.check(name)

        def opening(desk: Desk) -> Drawing:
            loaded = self.generators.load(name)
            if facts is not None:
                return open_portrait(desk, loaded, facts, self._inversion)
            with loaded.turns.taken():
                return desk.kept.load(loaded)

        return opening
