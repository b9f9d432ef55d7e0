"""A desk: one picture, the thread that works on it, and the browsers that look on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias, TypeVar

from trimtab.core.errors import RangeError
from trimtab.drag.mask import Mask
from trimtab.drag.run import SAVE_EVERY_S
from trimtab.models.stylegan.preview import shrink
from trimtab.serve.drag.drawing import Drawing
from trimtab.serve.drag.encoding import Flags, Shot, jpeg_of, shoot
from trimtab.serve.drag.kept import THUMBNAIL_PX, KeptFolder
from trimtab.serve.drag.portraits import strengthen
from trimtab.serve.drag.viewer import Viewer
from trimtab.serve.drag.worker import Task, Worker

State: TypeAlias = Literal["loading", "inverting", "idle", "running", "failed"]
JOIN_S: Final = 20.0

Result = TypeVar("Result")
_log = logging.getLogger("trimtab.serve")


class Desk(Worker):
    """Works in a thread of its own; every method is for any thread unless it says otherwise.

    Attributes:
        key: names the session.
        kept: where it is kept.
        drawing: None until it is open.
        used_s: when somebody last looked on or asked, by the monotonic clock.
    """

    def __init__(self, key: str, opening: Callable[[Desk], Drawing], kept: KeptFolder) -> None:
        """Begin to work.

        Args:
            key: names the session.
            opening: gives the drawing; runs in the desk's thread.
            kept: where to keep it.
        """
        super().__init__(f"trimtab-drag-{key}")
        self.key, self.kept = key, kept
        self.drawing: Drawing | None = None
        self.used_s = time.monotonic()
        self._opening = opening
        self._state: State = "loading"
        self._progress: Mapping[str, Any] | None = None
        self._problem = ""
        self._viewers: list[Viewer] = []
        self._shots: dict[bool, Shot] = {}
        self._once = self._unrendered = self._unsaved = False
        self._wanted_moment: int | None = None
        self._wanted_strength: float | None = None
        self._saved_s = time.monotonic()
        self.begin()

    def join(self, viewer: Viewer) -> None:
        """Let a browser look on; it is shown what there is."""
        self.used_s = time.monotonic()
        self._viewers = [*self._viewers, viewer]
        if self.drawing is None:
            viewer.offer(self.status(), (), ())
        self.ask(lambda: viewer.offer(self.status(), tuple(self._shots.values()), ()))

    def leave(self, viewer: Viewer) -> None:
        """Let a browser go; when nobody looks on, the drag pauses."""
        self.used_s = time.monotonic()
        self._viewers = [one for one in self._viewers if one is not viewer]
        if not self._viewers:
            self.tell(self.pause_now)

    @property
    def watched(self) -> int:
        """How many look on."""
        return len(self._viewers)

    @property
    def failed(self) -> bool:
        """Whether the picture could not be opened."""
        return self._state == "failed"

    @property
    def busy(self) -> bool:
        """Whether it does something that nobody should cut short."""
        return self._state in ("loading", "inverting", "running")

    def start(self, points: Sequence[Sequence[float]] | None, *, once: bool = False) -> None:
        """Drag from given points, or go on; ``once`` takes a single step."""

        def begin() -> None:
            drawing = self.pause_now()
            with self._turn():
                drawing.go_on() if points is None else drawing.begin(points)
            if drawing.end:
                raise RangeError("every point is at its target already. Set a target farther away.")
            self._state, self._once = "running", once
            self.publish()

        self.tell(begin)

    def pause(self) -> None:
        """Stop after the step at work."""
        self.tell(self.pause_now)

    def go_to(self, moment: int) -> None:
        """Go to a moment; of several that are asked for in a row only the last one is shown."""
        self._wanted_moment = moment
        self.tell(self._go)

    def move(self, by: int) -> None:
        """Undo or redo a step."""

        def go() -> None:
            drawing = self.pause_now()
            moment = drawing.moment + by
            if 0 <= moment < drawing.moments:
                self._wanted_moment = moment
                self._go()

        self.tell(go)

    def set_strength(self, value: float) -> None:
        """Say how much of a photo's adapter is added; of several values in a row only the last one is shown."""
        self._wanted_strength = value
        self.tell(self._strengthen)

    def set_mask(self, mask: Mask | None) -> None:
        """Say what may move from the next edit on; for the desk's thread."""
        self.pause_now().mask = mask
        self.publish()

    def publish(self, *shots: Shot, note: str = "", level: str = "error") -> None:
        """Tell whoever looks on how things stand, with new frames; for the desk's thread."""
        for shot in shots:
            self._shots[bool(shot.flags & Flags.START)] = shot
        notes = [{"level": level, "text": note}] if note else []
        status = self.status()
        for viewer in self._viewers:
            viewer.offer(status, shots, notes)

    def progress(self, state: State, progress: Mapping[str, Any] | None, *shots: Shot) -> None:
        """Tell how far a long piece of work is; for the desk's thread."""
        self._state, self._progress = state, progress
        self.publish(*shots)

    def tell_progress(self, progress: Mapping[str, Any] | None) -> None:
        """Tell how far something is that holds the desk up; for the desk's thread."""
        self._progress = progress
        self.publish()

    def status(self) -> dict[str, Any]:
        """Say how things stand."""
        drawing = self.drawing
        known = {} if drawing is None else drawing.describe()
        shared = drawing is not None and drawing.loaded.turns.busy
        own = {"state": self._state, "progress": self._progress, "problem": self._problem, "shared": shared}
        own["saved"] = not self._unsaved
        return {**own, **known}

    def render(self) -> None:
        """Make the whole picture as it is now and send it; for the desk's thread."""
        drawing, self._unrendered = self._open_drawing(), False
        with self._turn():
            picture = drawing.session.picture()
        self.kept.thumbnail = jpeg_of(shrink(picture, min(THUMBNAIL_PX, picture.shape[-1])))
        self.publish(shoot(picture, step=drawing.moment, flags=Flags.WHOLE))

    def save(self) -> None:
        """Put the session down; for the desk's thread."""
        drawing, self._unsaved = self._open_drawing(), False
        self._saved_s = time.monotonic()
        self.kept.save(drawing)
        self.publish()

    def chore(self) -> Task | None:
        """Step while it runs; else make the whole picture, then keep the session."""
        if self._state == "running":
            return self._advance
        if self._unrendered:
            return self.render
        return self.save if self._unsaved else None

    def problem(self, text: str) -> None:
        """Tell whoever looks on; a drag stops."""
        if self.drawing is None and self._state != "failed":
            self._state, self._problem = "failed", text
        elif self._state == "running":
            self._state = "idle"
        self.publish(note=text)

    def finish(self) -> None:
        """Keep what is not kept yet, and let others have it."""
        try:
            if self._unsaved:
                self.save()
        finally:
            self.kept.close()

    def prepare(self) -> None:
        """Open the picture."""
        drawing = self._opening(self)
        with drawing.loaded.turns.taken():
            # Whoever looks on has asked to be shown what there is, and is after this.
            self._shots = {True: self._shoot_start(drawing)}
        self.drawing, self._state, self._progress = drawing, "idle", None
        self._unrendered = drawing.moment > 0

    def _advance(self) -> None:
        drawing = self._open_drawing()
        with self._turn():
            drawing.session.advance()
            preview = drawing.session.preview()
        if self._once or drawing.end:
            self._state = "idle"
        self._unrendered = self._unsaved = True
        self.publish(shoot(preview, step=drawing.moment, flags=Flags.PREVIEW))
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.save()

    def _go(self) -> None:
        drawing, moment = self.pause_now(), self._wanted_moment
        if moment is None:
            return
        self._wanted_moment = None
        drawing.go_to(moment)
        self._unsaved = True
        with self._turn():
            preview = drawing.session.preview()
        self._unrendered = True
        self.publish(shoot(preview, step=moment, flags=Flags.PREVIEW))

    def _strengthen(self) -> None:
        drawing, wanted, self._wanted_strength = self.pause_now(), self._wanted_strength, None
        if wanted is None:
            return
        with self._turn():
            strengthen(self.kept.path, drawing, wanted)
            self._unsaved = drawing.moments > 1
            shots = [self._shoot_start(drawing)]
            if drawing.moment:
                shots.append(shoot(drawing.session.preview(), step=drawing.moment, flags=Flags.PREVIEW))
                self._unrendered = True
        self.publish(*shots)

    def _shoot_start(self, drawing: Drawing) -> Shot:
        picture = drawing.session.start_picture()
        if drawing.moment == 0:
            self.kept.thumbnail = jpeg_of(shrink(picture, min(THUMBNAIL_PX, picture.shape[-1])))
        return shoot(picture, step=0, flags=Flags.WHOLE | Flags.START)

    def pause_now(self) -> Drawing:
        """Stop the drag; for the desk's thread.

        Raises:
            RangeError: the picture could not be opened.
        """
        drawing = self._open_drawing()
        if self._state == "running":
            self._state = "idle"
            self.publish()
        return drawing

    def _open_drawing(self) -> Drawing:
        if self.drawing is None:
            raise RangeError("the picture could not be opened. Begin with another one.")
        return self.drawing

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._open_drawing().loaded.turns.taken():
            yield
