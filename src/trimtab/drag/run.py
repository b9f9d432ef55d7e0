"""``trimtab drag`` as a job: from a request to pictures, recipe and numbers in a folder."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from trimtab.core.errors import NonFiniteError, RangeError
from trimtab.core.interrupt import Interrupted, Interrupts
from trimtab.core.job import Event, Job, Note, Progress, Result, Saved, Started
from trimtab.drag.edit import Edit, Point
from trimtab.drag.invert.portrait import PhotoRequest, Portrait
from trimtab.drag.mask import read_mask
from trimtab.drag.picture import Animation, to_image, write_animation, write_png
from trimtab.drag.recipe import RECIPE_NAME, Start
from trimtab.drag.session import Place, Session
from trimtab.drag.settings import DragSettings, preset
from trimtab.drag.stored import (
    PHOTO_FOLDER,
    hash_mask,
    hash_tensor,
    load_session,
    read_latent,
    recipe_of,
    save_session,
    start_styles,
    surroundings,
    write_latent,
)
from trimtab.models.stylegan.generator import Generator
from trimtab.models.stylegan.load import load_generator
from trimtab.store.durable import make_folder
from trimtab.store.lock import RunLock

SAVE_EVERY_S: Final = 5.0
MOST_FRAMES: Final = 24
"""Of the moving picture: each is rendered whole."""
MOVING_PX: Final = 512


@dataclass(frozen=True)
class DragRequest:
    """What a drag of the command line is asked to do.

    Attributes:
        generator: its folder.
        name: what the person called it.
        out: folder to write; a session that is in it is continued.
        handles: where points are, in pixels of the picture.
        targets: where each is to go.
        seed: of the picture; ignored where ``latent`` is given.
        latent: file of styles to start from.
        photo: photo to start from; without handles it is inverted and nothing is dragged.
        truncation: of a seed's style.
        mask: picture file, white where the picture may change.
        preset: settings to begin with.
        changes: single settings that differ from the preset's.
        animation: kind of the moving picture; None makes none.
        device: where to work.
    """

    generator: Path
    name: str
    out: Path
    handles: tuple[Point, ...]
    targets: tuple[Point, ...]
    seed: int = 0
    latent: Path | None = None
    photo: PhotoRequest | None = None
    truncation: float = 0.7
    mask: Path | None = None
    preset: str = "trimtab"
    changes: tuple[tuple[str, Any], ...] = ()
    animation: Animation | None = "gif"
    device: str = "cpu"


def run(request: DragRequest) -> Job:
    """Drag, and write what came of it; run again, it continues to the same bits.

    Raises:
        RangeError: points, mask, settings or latent do not fit the generator, or ``out`` holds another drag.
        MissingError: a file is missing, or the folder holds no generator.
        FormatError: a file is damaged.
        LockedError: another process works in ``out``.
        NonFiniteError: a gradient is no number.
        CheckpointError: the disk refused.
    """
    yield Started(f"dragging {request.name}", str(request.out))
    generator = _load(request)
    edit = _edit(request, generator)
    portrait = None if request.photo is None else Portrait(request.photo, generator)
    begin = None if portrait is not None else _start(request, generator)
    make_folder(request.out)
    interrupts = Interrupts()
    with RunLock(request.out), interrupts.catching():
        if portrait is not None:
            with closing(portrait.events(request.out / PHOTO_FOLDER)) as events:  # type: ignore[type-var]
                yield from _deferring(interrupts, events)
            generator, begin = portrait.worn(), (portrait.w_plus, portrait.start(request.out / PHOTO_FOLDER))
        if edit is None:
            assert portrait is not None
            yield portrait.write(request.out)
            yield Result({"out": str(request.out), **portrait.values()})
            return
        assert begin is not None
        strength = 1.0 if request.photo is None else request.photo.strength
        work = _Work(request, begin[1], Session(generator, begin[0], strength=strength), edit)
        work.reached = {} if portrait is None else portrait.values()
        if not (request.out / RECIPE_NAME).is_file():
            yield work.before()  # first of all, so that there is something to look at
        work.take_up()
        try:
            yield from _deferring(interrupts, work.events())
        except (Interrupted, GeneratorExit, NonFiniteError):
            with interrupts.deferred():
                work.save()
            raise


def _deferring(interrupts: Interrupts, events: Iterator[Event]) -> Iterator[Event]:
    """Pass events on; while one is shown, nothing interrupts."""
    for event in events:
        with interrupts.deferred():
            yield event


def _load(request: DragRequest) -> Generator:
    generator = load_generator(request.generator)
    if request.device != "cpu":
        generator.to(request.device)  # type: ignore[attr-defined]
    return generator


class _Work:
    """A drag in progress."""

    def __init__(self, request: DragRequest, start: Start, session: Session, edit: Edit) -> None:
        self.request, self.start, self.session, self.edit = request, start, session, edit
        self.notes: list[str] = []
        self.step_s: list[float] = []
        self.reached: dict[str, Any] = {}  # of the photo

    def take_up(self) -> None:
        """Continue the session in the folder, or begin one."""
        if not (self.request.out / RECIPE_NAME).is_file():
            self.session.begin(self.edit)
            self.save()
            return
        session, recipe = load_session(self.request.out, self.session.generator)
        most = self.edit.settings.max_steps
        same = [
            replace(take.edit.settings, max_steps=most) == self.edit.settings
            and take.edit.handles == self.edit.handles
            and take.edit.targets == self.edit.targets
            and hash_mask(take.edit.mask) == hash_mask(self.edit.mask)
            and set(take.strengths) <= {session.strength}
            for take in session.takes
        ]
        if recipe.start != self.start or same != [True]:
            raise RangeError(f"{self.request.out} holds another drag. Repeat its options, or choose another --out.")
        take = session.takes[0]
        take.edit = take.engine.edit = self.edit
        take.engine.settings = self.edit.settings
        session.go_to(Place(0, len(take.frames) - 1))
        self.session = session
        self.notes.append(f"continuing after step {session.frame.number}.")
        if recipe.surroundings != (here := surroundings(session.start.device)):
            differing = ", ".join(f"{key} {recipe.surroundings.get(key)} -> {value}" for key, value in here.items())
            self.notes.append(f"other surroundings, so that the last bits may differ: {differing}.")

    def events(self) -> Iterator[Event]:
        """Drag to the end and write the pictures."""
        yield from (Note(note) for note in self.notes)
        yield from self._steps()
        self.save()
        yield self._write("after", self.session.picture())
        write_latent(self.request.out / "latent.safetensors", self.session.w_plus)
        if self.request.animation is not None:
            yield from self._animate()
        yield Saved("session", str(self.request.out))
        yield Result(self._values())

    def save(self) -> None:
        """Put the session down."""
        recipe = recipe_of(self.session, self.start, generator=self.request.name)
        save_session(self.request.out, self.session, recipe)

    @property
    def _last(self) -> Place:
        return Place(0, len(self.session.takes[0].frames) - 1)

    def _steps(self) -> Iterator[Event]:
        engine, saved = self.session.take.engine, time.monotonic()
        while not engine.end(self.session.frame):
            before, begun = self.session.frame, time.perf_counter()
            frame = self.session.advance()
            self.step_s.append(time.perf_counter() - begun)
            yield from _changes(before.lost, frame.lost, self.edit)
            left = engine.distances(frame)
            values = {"distance_px": float(left.mean()), "distances_px": left.tolist(), "points": frame.points.tolist()}
            yield Progress("drag", frame.number, self.edit.settings.max_steps, "steps", values)
            if time.monotonic() - saved > SAVE_EVERY_S:
                self.save()
                saved = time.monotonic()

    def before(self) -> Saved:
        """Write the picture before the drag."""
        with torch.no_grad():
            return self._write("before", self.session.generator.image(self.session.start))

    def _write(self, name: str, picture: Tensor) -> Saved:
        path = self.request.out / f"{name}.png"
        write_png(path, picture)
        return Saved(f"picture {name}", str(path))

    def _animate(self) -> Iterator[Event]:
        count = self._last.frame + 1
        shown = sorted({round(index * (count - 1) / (MOST_FRAMES - 1)) for index in range(MOST_FRAMES)})
        images = []
        for done, number in enumerate(shown, start=1):
            images.append(to_image(self.session.picture_at(Place(0, number)), most_px=MOVING_PX))
            yield Progress("moving picture", done, len(shown), "frames")
        assert self.request.animation is not None
        path = self.request.out / f"drag.{self.request.animation}"
        write_animation(path, images, self.request.animation)
        yield Saved("moving picture", str(path))

    def _values(self) -> dict[str, Any]:
        take = self.session.takes[0]
        engine, first, last = take.engine, take.frames[0], take.frames[-1]
        return {
            "out": str(self.request.out),
            "end": engine.end(last),
            "steps": last.number,
            "distance_before_px": float(engine.distances(first).mean()),
            "distance_after_px": float(engine.distances(last).mean()),
            "points": last.points.tolist(),
            "lost": last.lost.tolist(),
            "step_ms": 1000 * statistics.median(self.step_s) if self.step_s else None,
            **self.reached,
        }


def settings_of(request: DragRequest, generator: Generator) -> DragSettings:
    """Give a request's settings: its preset's, for this generator, with the single changes.

    Raises:
        RangeError: the preset, a setting or a value is not allowed.
    """
    named = preset(
        request.preset,
        resolution=generator.resolution,
        feature_sizes=generator.feature_sizes,
        groups=len(generator.groups),
        points=len(request.handles),
    )
    changes = dict(request.changes)
    return replace(named, **changes)


def _edit(request: DragRequest, generator: Generator) -> Edit | None:
    """Check what is to be dragged before anything is written; None where a photo is inverted and nothing dragged."""
    if request.photo is not None and not request.handles and not request.targets:
        return None
    mask = None if request.mask is None else read_mask(request.mask, generator.resolution)
    edit = Edit(request.handles, request.targets, settings_of(request, generator), mask)
    edit.check(generator)
    return edit


def _start(request: DragRequest, generator: Generator) -> tuple[Tensor, Start]:
    if request.latent is not None:
        styles = read_latent(request.latent, generator)
        return styles, Start(None, 1.0, hash_tensor(styles))
    start = Start(request.seed, request.truncation)
    return start_styles(generator, start), start


def _changes(before: Tensor, after: Tensor, edit: Edit) -> Iterator[Note]:
    """Say which points were lost or found again."""
    for handle, was, gone in zip(edit.handles, before.tolist(), after.tolist(), strict=True):
        name = f"the point from {handle[0]:g},{handle[1]:g}"
        if gone and not was:
            yield Note(f"{name} is lost: nothing near looks like it. It pauses; the others go on.", "warning")
        elif was and not gone:
            yield Note(f"{name} is found again.")
