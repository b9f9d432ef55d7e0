"""A picture under a person's hands: its drag session, its mask, and what a page shows of both.

Nothing here knows of threads or sockets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.drag.edit import Edit
from trimtab.drag.invert.run import Inversion
from trimtab.drag.mask import Mask
from trimtab.drag.recipe import Recipe, Start
from trimtab.drag.session import Place, Session
from trimtab.drag.settings import DragSettings, preset
from trimtab.drag.stored import recipe_of
from trimtab.models.stylegan.generator import Generator
from trimtab.serve.drag.generators import Loaded


class Drawing:
    """One picture and its history.

    Attributes:
        loaded: the generator.
        start: where the picture came from.
        session: every step of every edit.
        mask: what may move in the next edit; None is everything.
        portrait: what was found for the photo that the picture is of; None where it is of none.
    """

    def __init__(self, loaded: Loaded, start: Start, session: Session, portrait: Inversion | None = None) -> None:
        """Take a session as it is; its last mask stays in use."""
        self.loaded, self.start, self.session, self.portrait = loaded, _under(start, session), session, portrait
        self.mask: Mask | None = session.takes[-1].edit.mask if session.takes else None

    @property
    def generator(self) -> Generator:
        """What makes the pictures."""
        return self.session.generator

    def begin(self, pulls: Sequence[Sequence[float]]) -> None:
        """Begin an edit of the picture as it is now.

        Args:
            pulls: x and y of each handle and of its target.

        Raises:
            RangeError: a point lies outside the picture, or all are where they are to go; what was undone stays then.
        """
        handles = tuple((float(x), float(y)) for x, y, _, _ in pulls)
        targets = tuple((float(x), float(y)) for _, _, x, y in pulls)
        edit = Edit(handles, targets, self._settings(len(pulls)), self.mask)
        edit.check(self.generator)
        if all(math.dist(*ends) <= edit.settings.stop_px for ends in zip(handles, targets, strict=True)):
            raise RangeError("every point is at its target already. Set a target farther away.")
        self.session.begin(edit)

    def advance(self) -> None:
        """Take one step.

        Raises:
            RangeError: no edit was begun, or no point can be pulled.
            NonFiniteError: the gradient is no number.
        """
        self.session.advance()

    def go_on(self) -> None:
        """Let an edit that ended at its limit of steps take as many again.

        Raises:
            RangeError: no edit was begun, or it is at its end.
        """
        take = self.session.take
        end = take.engine.end(self.session.frame)
        if end == "steps":
            most = self.session.frame.number + self._settings(len(take.edit.handles)).max_steps
            take.edit = take.engine.edit = replace(take.edit, settings=replace(take.edit.settings, max_steps=most))
            take.engine.settings = take.edit.settings
        elif end:
            words = {"arrived": "every point has arrived", "lost": "the points that are left are lost"}
            raise RangeError(f"{words[end]}. Move a point or its target, or undo some steps.")

    def exchange(self, generator: Generator, strength: float) -> None:
        """Go on with the same generator, which wears its adapter with another strength; every moment stays."""
        self.session = self.session.under(generator, strength)
        self.start = _under(self.start, self.session)

    @property
    def end(self) -> str:
        """Why the edit at hand is over; empty while it is not, or where there is none."""
        return "" if self.session.place is None else self.session.take.engine.end(self.session.frame)

    @property
    def moment(self) -> int:
        """Where the session is, counting from the picture before any edit."""
        return self._moments.index(self.session.place)

    @property
    def moments(self) -> int:
        """How many moments there are, the one before any edit among them."""
        return len(self._moments)

    def go_to(self, moment: int) -> None:
        """Go to a moment.

        Raises:
            RangeError: there is none such.
        """
        self.session.go_to(self._place_of(moment))

    def picture_at(self, moment: int) -> Float[Tensor, "1 3 rows columns"]:
        """Make the picture of a moment without going there.

        Raises:
            RangeError: there is none such.
        """
        return self.session.picture_at(self._place_of(moment))

    @property
    def step(self) -> int:
        """Steps of the edit at hand so far."""
        return 0 if self.session.place is None else self.session.frame.number

    def recipe(self) -> Recipe:
        """Say what makes the session again."""
        return recipe_of(self.session, self.start, generator=self.loaded.name)

    def describe(self) -> dict[str, Any]:
        """Give everything that a page shows besides the picture."""
        return {
            "generator": self.loaded.name,
            "resolution": self.generator.resolution,
            "seed": self.start.seed,
            "truncation": self.start.truncation,
            "step": self.step,
            "end": self.end,
            "moment": self.moment,
            "moments": self.moments,
            "edit": None if self.session.place is None else self.session.place.take,
            "stop_px": self._settings(1).stop_px,
            "masked": self.mask is not None,
            "portrait": self._portrait(),
            "points": self._points(),
        }

    def _place_of(self, moment: int) -> Place | None:
        moments = self._moments
        if moment >= len(moments):
            raise RangeError(f"moment {moment}: allowed is 0 to {len(moments) - 1}.")
        return moments[moment]

    @property
    def _moments(self) -> list[Place | None]:
        return [None, *self.session.places()]

    def _points(self) -> list[dict[str, Any]] | None:
        if self.session.place is not None:
            take, frame = self.session.take, self.session.frame
        elif self.session.takes:  # all was undone: what was asked first, to be asked again
            take = self.session.takes[0]
            frame = take.frames[0]
        else:
            return None
        left = take.engine.distances(frame).tolist()
        rows = zip(take.edit.handles, take.edit.targets, frame.points.tolist(), left, frame.lost.tolist(), strict=True)
        return [
            {"from": handle, "to": target, "at": place, "left_px": far, "lost": gone}
            for handle, target, place, far, gone in rows
        ]

    def _portrait(self) -> dict[str, float] | None:
        if self.portrait is None:
            return None
        reached = {"psnr_db": self.portrait.psnr_db, "psnr_styles_db": self.portrait.psnr_styles_db}
        return {"strength": self.session.strength, **reached}

    def _settings(self, points: int) -> DragSettings:
        return preset(
            "trimtab",
            resolution=self.generator.resolution,
            feature_sizes=self.generator.feature_sizes,
            groups=len(self.generator.groups),
            points=points,
        )


def _under(start: Start, session: Session) -> Start:
    """Let a start tell the strength that its photo's adapter has now."""
    return start if start.photo is None else replace(start, photo=replace(start.photo, strength=session.strength))
