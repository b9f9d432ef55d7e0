"""A session: a picture, the edits made on it, and every step of each, to go back to and on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.drag.edit import Edit
from trimtab.drag.engine import Engine, Frame
from trimtab.drag.mask import blend, carry
from trimtab.drag.preview import Previews
from trimtab.models.stylegan.generator import Features, Generator


@dataclass
class Take:
    """An edit and all moments of it, the first being the one before any step.

    Attributes:
        edit: what was asked.
        engine: what does it.
        frames: its moments.
        shown: what was shown when it began; None where that is what the styles make, since no mask had kept anything.
        strengths: of the adapter that the generator wore, for each step.
    """

    edit: Edit
    engine: Engine
    frames: list[Frame] = field(default_factory=list)
    shown: Features | None = None
    strengths: list[float] = field(default_factory=list)

    @property
    def keeps(self) -> bool:
        """Whether its mask keeps what was shown before it."""
        return self.edit.mask is not None and self.edit.settings.keep


@dataclass(frozen=True, order=True)
class Place:
    """A moment of a session: which take, and which of its frames."""

    take: int
    frame: int


class Session:
    """Edits of one picture.

    Attributes:
        generator: frozen.
        strength: of the adapter that it wears; 1 where it wears none.
        start: styles of the picture before any edit.
        takes: edits in order, those that were undone but not yet replaced among them.
        place: where the session is; None before the first edit.
    """

    def __init__(
        self,
        generator: Generator,
        start: Float32[Tensor, "1 styles width"],
        *,
        windowed: bool = True,
        strength: float = 1.0,
    ) -> None:
        """Begin with a picture.

        Args:
            generator: frozen.
            start: styles of the picture.
            windowed: compute only what the points need where nothing else is needed.
            strength: of the adapter that the generator wears.
        """
        self.generator, self.start, self.windowed, self.strength = generator, start, windowed, strength
        self.takes: list[Take] = []
        self.place: Place | None = None
        self._start_picture: Tensor | None = None
        self._previews: Previews | None = None

    @property
    def w_plus(self) -> Float32[Tensor, "1 styles width"]:
        """Styles of the picture as it is now."""
        return self.start if self.place is None else self.styles_at(self.place)

    @property
    def take(self) -> Take:
        """The edit at work.

        Raises:
            RangeError: none was begun.
        """
        if self.place is None:
            raise RangeError("no edit was begun. Set a handle and its target first.")
        return self.takes[self.place.take]

    @property
    def frame(self) -> Frame:
        """Where the edit at work is."""
        take = self.take
        assert self.place is not None
        return take.frames[self.place.frame]

    def styles_at(self, place: Place) -> Float32[Tensor, "1 styles width"]:
        """Give the styles of a moment."""
        take = self.takes[place.take]
        return take.engine.w_plus(take.frames[place.frame].offsets)

    def begin(self, edit: Edit) -> Frame:
        """Begin an edit of the picture as it is now; what was undone is forgotten.

        Raises:
            RangeError: the edit does not fit the generator.
        """
        shown = self.features() if self._is_kept() else None
        fitting = shown if shown is not None and shown.size == edit.settings.feature_size else None
        engine = Engine(self.generator, self.w_plus, edit, windowed=self.windowed, shown=fitting)
        self._forget_what_follows()
        self.takes.append(Take(edit, engine, [engine.first()], shown))
        self.place = Place(len(self.takes) - 1, 0)
        return self.frame

    def take_up(self, frames: Sequence[Frame], strengths: Sequence[float]) -> None:
        """Take over moments of the edit at work that are known already, and go to the last of them.

        Args:
            frames: the first one before any step.
            strengths: of the adapter, for each step.
        """
        assert self.place is not None
        self.take.frames, self.take.strengths = list(frames), list(strengths)
        self.place = Place(self.place.take, len(frames) - 1)

    def under(self, generator: Generator, strength: float) -> Session:
        """Give a session of the same moments whose generator wears its adapter with another strength."""
        other = Session(generator, self.start, windowed=self.windowed, strength=strength)
        for take in self.takes:
            other.begin(take.edit)
            other.take_up(take.frames, take.strengths)
        other.place = self.place
        return other

    def advance(self) -> Frame:
        """Take one step of the edit at work; steps that were undone are forgotten.

        Raises:
            RangeError: no edit was begun, or no point can be pulled.
            NonFiniteError: the gradient is no number.
        """
        take, here = self.take, self.place
        assert here is not None
        frame = take.engine.advance(self.frame)
        self._forget_what_follows()
        take.frames.append(frame)
        take.strengths.append(self.strength)
        self.place = Place(here.take, here.frame + 1)
        return frame

    def undo(self) -> bool:
        """Go back one step, across edits; tell whether there was one."""
        return self._move(-1)

    def redo(self) -> bool:
        """Go forward one step that was undone; tell whether there was one."""
        return self._move(1)

    def go_to(self, place: Place | None) -> None:
        """Go to a moment of the session.

        Raises:
            RangeError: there is none such.
        """
        if place is not None and place not in self.places():
            raise RangeError(f"{place}: the session has {len(self.takes)} edits and no such moment in them.")
        self.place = place

    def places(self) -> list[Place]:
        """Give all moments in order."""
        return [Place(index, number) for index, take in enumerate(self.takes) for number in range(len(take.frames))]

    @torch.no_grad()
    def features(self, *, whole: bool = True) -> Features:
        """Give the features of what is shown now: the start's own outside a mask that keeps.

        Args:
            whole: False takes the window that the last step computed, where one was enough.

        Raises:
            RangeError: no edit was begun.
        """
        return self._shown(self.take, self.frame, whole=whole)

    @torch.no_grad()
    def start_picture(self) -> Float[Tensor, "1 3 rows columns"]:
        """Make the picture before any edit, once."""
        if self._start_picture is None:
            self._start_picture = self.generator.image(self.start)
        return self._start_picture

    def picture(self) -> Float[Tensor, "1 3 rows columns"]:
        """Make the picture as it is now."""
        return self.picture_at(self.place)

    @torch.no_grad()
    def picture_at(self, place: Place | None) -> Float[Tensor, "1 3 rows columns"]:
        """Make the picture of a moment without going there."""
        if place is None:
            return self.start_picture()
        take = self.takes[place.take]
        return self.generator.image_from(self._shown(take, take.frames[place.frame]), self.styles_at(place))

    def preview(self) -> Float[Tensor, "1 3 height width"]:
        """Give a cheap, smaller picture of what is shown now, from the features of the last step.

        The first one makes the picture before any edit, since the others are shown as changes of it.
        """
        if self._previews is None:
            self._previews = Previews(self.generator, self.start, self.start_picture())
        if self.place is None:
            return self._previews.known
        return self._previews.of(self.features(whole=False))

    def _is_kept(self) -> bool:
        """Tell whether anything of the picture as it is now was kept by a mask."""
        return self.place is not None and any(take.keeps for take in self.takes[: self.place.take + 1])

    def _shown(self, take: Take, frame: Frame, *, whole: bool = True) -> Features:
        """Give what is shown at a moment: on the map of the edit whose mask was the first to keep something."""
        engine, before = take.engine, take.shown or take.engine.start_features
        features = engine.features(frame)
        if before.size != features.size:
            begun, now = (self.generator.features(w, before.size) for w in (engine.start, engine.w_plus(frame.offsets)))
            features = carry(now, begun, before)
        elif whole and features.window is not None:
            features = self.generator.features(engine.w_plus(frame.offsets), features.size)
        if not take.keeps:
            return features
        assert take.edit.mask is not None
        return blend(features, before, take.edit.mask.soft_at(features.size))

    def _move(self, by: int) -> bool:
        places: list[Place | None] = [None, *self.places()]
        index = places.index(self.place) + by
        if not 0 <= index < len(places):
            return False
        self.place = places[index]
        return True

    def _forget_what_follows(self) -> None:
        if self.place is None:
            self.takes.clear()
            return
        del self.takes[self.place.take + 1 :]
        del self.take.frames[self.place.frame + 1 :]
        del self.take.strengths[self.place.frame :]
