"""Making a photo a generator's picture at a desk, with previews, and taking it up where it was stopped."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from trimtab.core.errors import TrimtabError
from trimtab.drag.invert.run import Inversion, InvertStep, invert
from trimtab.drag.invert.settings import InvertSettings
from trimtab.drag.recipe import RECIPE_NAME
from trimtab.drag.session import Session
from trimtab.models.stylegan.adapter import adapted
from trimtab.serve.drag.desk import Desk
from trimtab.serve.drag.drawing import Drawing
from trimtab.serve.drag.encoding import Flags, shoot
from trimtab.serve.drag.generators import Loaded
from trimtab.serve.drag.portraits import FOLDER, Facts, read_square, start_of

STAGES: Final = {"styles": "Looking for the face", "adapter": "Fitting what is left"}


class Stopped(TrimtabError):
    """The desk was put away in the middle."""


def open_portrait(desk: Desk, loaded: Loaded, facts: Facts, settings: InvertSettings) -> Drawing:
    """Find a portrait, or go on with finding it, and take up what was dragged in it; for the desk's thread.

    Raises:
        Stopped: the desk was put away meanwhile; what was found is kept.
        FormatError: a file is damaged.
        RangeError: what is kept belongs to another generator.
    """
    folder = desk.kept.path
    desk.kept.hold()
    inversion = _found(desk, loaded, settings)
    with loaded.turns.taken():
        generator = adapted(loaded.generator, inversion.adapter, facts.strength)
        if (folder / RECIPE_NAME).is_file():
            return desk.kept.load(loaded, inversion, generator, facts.strength)
        session = Session(generator, inversion.w_plus, strength=facts.strength)
        return Drawing(loaded, start_of(folder, inversion, facts), session, inversion)


def _found(desk: Desk, loaded: Loaded, settings: InvertSettings) -> Inversion:
    folder = desk.kept.path
    steps = invert(loaded.generator, read_square(folder), settings, folder=folder / FOLDER)
    desk.progress("inverting", {"what": "Making a first guess", "done": 0, "of": 1})
    while True:
        with loaded.turns.taken():
            step = next(steps)
        if step.inversion is not None:
            return step.inversion
        if desk.stopping:
            assert isinstance(steps, Generator)
            steps.close()  # which puts the work down
            raise Stopped("the photo is put away; open it again to go on.")
        _tell(desk, step)


def _tell(desk: Desk, step: InvertStep) -> None:
    progress: dict[str, Any] = {"what": STAGES[step.stage], "done": step.step, "of": step.steps}
    shown = shoot(step.preview(), step=step.step, flags=Flags.PREVIEW)
    desk.progress("inverting", {**progress, "psnr_db": round(step.psnr_db, 1)}, shown)
