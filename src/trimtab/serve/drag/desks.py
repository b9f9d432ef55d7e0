"""All desks of a server: those that are open, and those that are kept and can be opened again."""

from __future__ import annotations

import logging
import threading
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import MissingError
from trimtab.drag.invert.align import Placement, align
from trimtab.drag.invert.settings import InvertSettings
from trimtab.drag.recipe import Start
from trimtab.drag.session import Session
from trimtab.drag.stored import start_styles
from trimtab.serve.api_error import ApiError
from trimtab.serve.drag.desk import Desk, Opening
from trimtab.serve.drag.drawing import Drawing
from trimtab.serve.drag.generators import Generators
from trimtab.serve.drag.inverting import open_portrait
from trimtab.serve.drag.kept import Kept
from trimtab.serve.drag.messages import Begin, Place
from trimtab.serve.drag.photos import Held
from trimtab.serve.drag.portraits import Facts, begin_portrait, read_facts

MOST_OPEN: Final = 4
MOST_LEAVING: Final = 16
"""Each is a thread that may wait for a generator to be loaded."""

_log = logging.getLogger("trimtab.serve")


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
        self._leaving: dict[str, Desk] = {}
        """Were told to end; they may still write."""
        self._removing: set[str] = set()
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

        return self._add(self.kept.new_key(), opening)

    def find(self, key: str) -> Desk:
        """Give a desk, opened again where it is kept only.

        Raises:
            MissingError: there is none of that name, or its generator is not offered.
            FormatError: what is kept is damaged.
            ApiError: 429, too many are open; 409, it is still being put away.
        """
        while True:
            with self._changing:
                desk = self._open.get(key)
                if desk is not None and not (desk.failed and not desk.watched):
                    return desk
                if desk is not None:
                    self._let_go(desk)  # what was in the way may be gone
                if (leaving := self._at_work_still(key)) is None:
                    return self._add(key, self._opening_of(key))
            _wait_for(leaving)

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
        photos = [held.photo]

        def opening(desk: Desk) -> Drawing:
            loaded = self.generators.load(asked.generator)
            desk.kept.hold()
            square = align(photos.pop(), placement, loaded.generator.resolution)  # which is large, and held no longer
            begin_portrait(desk.kept.path, square, facts)
            desk.kept.show(square)
            desk.kept.save_thumbnail()
            return open_portrait(desk, loaded, facts, self._inversion)

        return self._add(self.kept.new_key(), opening, precious=True)

    def summaries(self) -> list[dict[str, Any]]:
        """Describe what is kept, and whether each is open."""
        return [{**one, "open": one["key"] in self._open} for one in self.kept.summaries()]

    def remove(self, key: str) -> None:
        """Put a session away and delete it.

        Raises:
            MissingError: there is none of that name.
            LockedError: another process has it open.
            ApiError: 409, it does not end in time.
        """
        with self._changing:
            desk = self._open.get(key)
            leaving = desk or self._at_work_still(key)
            if key in self._removing or (leaving is None and not self.kept.folder(key).path.is_dir()):
                raise MissingError(f"the drag {key[:40]} is gone already.")
            self._removing.add(key)
            if leaving is not None:
                leaving.discard()
            if desk is not None:
                self._let_go(desk)
        try:
            if leaving is not None:
                _wait_for(leaving)
            self.kept.remove(key)
        finally:
            self._removing.discard(key)

    def close(self) -> None:
        """Put all away."""
        with self._changing:
            for desk in list(self._open.values()):
                self._let_go(desk)
            leaving = list(self._leaving.values())
        for desk in leaving:
            if not desk.wait():
                _log.error("the drag %s is still at work; its last steps may be lost", desk.key)

    def _add(self, key: str, opening: Opening, *, precious: bool = False) -> Desk:
        with self._changing:
            if key in self._removing:
                raise MissingError(f"the drag {key} is being deleted. Begin a new one.")
            if len(self._open) >= MOST_OPEN:
                self._make_room()
            desk = self._open[key] = Desk(key, opening, self.kept.folder(key), precious=precious)
            return desk

    def _make_room(self) -> None:
        spare = [desk for desk in self._open.values() if not desk.watched and not desk.busy]
        self._forget_ended()
        if not spare or len(self._leaving) >= MOST_LEAVING:
            message = (
                f"{len(self._open)} pictures are at work, which is the most. Close the page of one, and try again."
            )
            raise ApiError(429, message, code="too_many_open")
        self._let_go(min(spare, key=lambda desk: (not desk.failed, desk.used_s)))

    def _at_work_still(self, key: str) -> Desk | None:
        """Give the desk of a session that was told to end and has not."""
        self._forget_ended()
        return self._leaving.get(key)

    def _let_go(self, desk: Desk) -> None:
        """Tell a desk to end; nobody waits for it here."""
        self._forget_ended()
        del self._open[desk.key]
        self._leaving[desk.key] = desk
        desk.stop()

    def _forget_ended(self) -> None:
        self._leaving = {key: desk for key, desk in self._leaving.items() if not desk.ended}

    def _opening_of(self, key: str) -> Opening:
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


def _wait_for(desk: Desk) -> None:
    if not desk.wait():
        message = f"the drag {desk.key} is being put away, and what it does now takes long. Try again in a moment."
        raise ApiError(409, message, code="being_put_away", headers={"Retry-After": "5"})
