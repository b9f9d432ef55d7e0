"""A desk: one picture, the thread that works on it, and the browsers that look on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

from trimtab.core.errors import RangeError, TrimtabError
from trimtab.drag.mask import Mask
from trimtab.drag.run import SAVE_EVERY_S
from trimtab.serve.drag.audience import Audience
from trimtab.serve.drag.drawing import Drawing
from trimtab.serve.drag.encoding import Flags, Shot, shoot
from trimtab.serve.drag.kept import KeptFolder
from trimtab.serve.drag.portraits import strengthen
from trimtab.serve.drag.viewer import Viewer
from trimtab.serve.drag.worker import Task, Worker

State: TypeAlias = Literal["loading", "inverting", "idle", "running", "failed"]
Opening: TypeAlias = Callable[["Desk"], Drawing]

AGAIN_S: Final = 10.0
"""A disk that refused is asked again after this."""
AWAY: Final = "this drag was put away. Open it again to go on."
GONE: Final = "this drag was deleted."

_log = logging.getLogger("trimtab.serve")


class Desk(Worker):
    """Works in a thread of its own; every method is for any thread unless it says otherwise.

    Attributes:
        key: names the session.
        kept: where it is kept.
        drawing: None until it is open.
        used_s: when somebody last looked on or asked, by the monotonic clock.
    """

    def __init__(self, key: str, opening: Opening, kept: KeptFolder, *, precious: bool = False) -> None:
        """Begin to work.

        Args:
            key: names the session.
            opening: gives the drawing; runs in the desk's thread.
            kept: where to keep it.
            precious: whether what it opens is nowhere on disk yet.
        """
        super().__init__(f"trimtab-drag-{key}")
        self.key, self.kept = key, kept
        self.drawing: Drawing | None = None
        self.used_s = time.monotonic()
        self._opening: Opening | None = opening
        self._precious = precious
        self._state: State = "loading"
        self._progress: Mapping[str, Any] | None = None
        self._problem = ""
        self._audience = Audience()
        self._shots: dict[bool, Shot] = {}
        self._once = self._unrendered = self._unsaved = self._discarded = False
        self._saved_s = self._save_again_s = time.monotonic()
        self.begin()

    def join(self, viewer: Viewer) -> None:
        """Let a browser look on; it is shown what there is."""
        self.used_s = time.monotonic()
        self._audience.join(viewer)
        if self.drawing is None:
            viewer.offer(self.status(), (), ())
        self.ask(lambda: viewer.offer(self.status(), tuple(self._shots.values()), ()))

    def leave(self, viewer: Viewer) -> None:
        """Let a browser go; when nobody looks on, the drag pauses."""
        self.used_s = time.monotonic()
        self._audience.leave(viewer)
        if not self.watched:
            self.tell(self.pause_now)

    @property
    def watched(self) -> int:
        """How many look on."""
        return len(self._audience)

    @property
    def failed(self) -> bool:
        """Whether the picture could not be opened."""
        return self._state == "failed"

    @property
    def busy(self) -> bool:
        """Whether it does something that nobody should cut short."""
        return self._state in ("inverting", "running") or (self._state == "loading" and self._precious)

    def start(self, points: Sequence[Sequence[float]] | None, *, once: bool = False) -> None:
        """Drag from given points, or go on; ``once`` takes a single step."""

        def begin() -> None:
            drawing = self.pause_now()
            with self._turn():
                drawing.go_on() if points is None else drawing.begin(points)
            self._state, self._once = "running", once
            self.publish()

        self.tell(begin)

    def pause(self) -> None:
        """Stop after the step at work."""
        self.tell(self.pause_now)

    def go_to(self, moment: int) -> None:
        """Go to a moment; of several that are asked for in a row only the last one is shown."""
        self.tell(lambda: self._go(self.pause_now(), moment), topic="moment")

    def move(self, by: int) -> None:
        """Undo or redo a step."""

        def go() -> None:
            drawing = self.pause_now()
            if 0 <= (moment := drawing.moment + by) < drawing.moments:
                self._go(drawing, moment)

        self.tell(go)

    def set_strength(self, value: float) -> None:
        """Say how much of a photo's adapter is added; of several values in a row only the last one is shown."""
        self.tell(lambda: self._strengthen(self.pause_now(), value), topic="strength")

    def set_mask(self, mask: Mask | None) -> None:
        """Say what may move from the next edit on; for the desk's thread."""
        self.pause_now().mask = mask
        self.publish()

    def discard(self) -> None:
        """Keep nothing from now on: the session is to be deleted."""
        self._discarded = True

    def publish(self, *shots: Shot, note: str = "") -> None:
        """Tell whoever looks on how things stand, with new frames; for the desk's thread."""
        for shot in shots:
            self._shots[bool(shot.flags & Flags.START)] = shot
        self._audience.offer(self.status(), shots, [{"text": note}] if note else [])

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
        self.kept.show(picture)
        self.publish(shoot(picture, step=drawing.moment, flags=Flags.WHOLE))

    def save(self) -> None:
        """Put the session down; for the desk's thread.

        Raises:
            CheckpointError: the disk refused; it is asked again later.
            LockedError: another process has the folder.
        """
        drawing, self._saved_s = self._open_drawing(), time.monotonic()
        self._save_again_s = self._saved_s + AGAIN_S
        self.kept.save(drawing)
        self._unsaved, self._save_again_s = False, self._saved_s
        self.publish()

    def chore(self) -> Task | None:
        """Step while it runs; else make the whole picture, then keep the session."""
        if self._state == "running":
            return self._advance
        if self._unrendered:
            return self.render
        return self.save if self.rest_s() == 0 else None

    def rest_s(self) -> float | None:
        """Say when a disk that refused is to be asked again."""
        waits = self._unsaved and not self._discarded
        return max(0.0, self._save_again_s - time.monotonic()) if waits else None

    def problem(self, text: str) -> None:
        """Tell whoever looks on; a drag stops."""
        if self.drawing is None and self._state != "failed":
            self._state, self._problem = "failed", text
        elif self._state == "running":
            self._state = "idle"
        self.publish(note=text)

    def finish(self) -> None:
        """Keep what is not kept yet, let others have it, and tell whoever looks on."""
        try:
            if self._unsaved and not self._discarded:
                self.save()
        except TrimtabError as error:
            _log.error("the last steps of the drag %s are lost: %s", self.key, error)
        finally:
            self.kept.close()
            self._audience.end(GONE if self._discarded else AWAY)

    def prepare(self) -> None:
        """Open the picture."""
        opening, self._opening = self._opening, None  # which may hold a photo
        assert opening is not None
        drawing = opening(self)
        if self.stopping:
            return
        with drawing.loaded.turns.taken():
            # Whoever looks on has asked to be shown what there is, and is after this.
            self._shots = {True: self._shoot_start(drawing)}
        self.drawing, self._state, self._progress = drawing, "idle", None
        self._unrendered = drawing.moment > 0

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

    def _advance(self) -> None:
        drawing = self._open_drawing()
        with self._turn():
            drawing.advance()
            preview = drawing.session.preview()
        if self._once or drawing.end:
            self._state = "idle"
        self._unrendered = self._unsaved = True
        self.publish(shoot(preview, step=drawing.moment, flags=Flags.PREVIEW))
        if time.monotonic() - self._saved_s > SAVE_EVERY_S and self.rest_s() == 0:
            self.save()

    def _go(self, drawing: Drawing, moment: int) -> None:
        drawing.go_to(moment)
        self._unsaved = True
        with self._turn():
            preview = drawing.session.preview()
        self._unrendered = True
        self.publish(shoot(preview, step=moment, flags=Flags.PREVIEW))

    def _strengthen(self, drawing: Drawing, strength: float) -> None:
        with self._turn():
            strengthen(self.kept.path, drawing, strength)
            self._unsaved = drawing.moments > 1
            shots = [self._shoot_start(drawing)]
            if drawing.moment:
                shots.append(shoot(drawing.session.preview(), step=drawing.moment, flags=Flags.PREVIEW))
                self._unrendered = True
        self.publish(*shots)

    def _shoot_start(self, drawing: Drawing) -> Shot:
        picture = drawing.session.start_picture()
        if drawing.moment == 0:
            self.kept.show(picture)
        return shoot(picture, step=0, flags=Flags.WHOLE | Flags.START)

    def _open_drawing(self) -> Drawing:
        if self.drawing is None:
            raise RangeError("the picture could not be opened. Begin with another one.")
        return self.drawing

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._open_drawing().loaded.turns.taken():
            yield
