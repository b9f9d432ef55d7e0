"""Inverting a picture: an iterator of steps with previews, resumable from a folder, and its result on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float32
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.core.interrupt import Interrupted
from trimtab.drag.invert.settings import InvertSettings
from trimtab.drag.invert.steps import Inverter, Look, Stage, closeness
from trimtab.drag.invert.stored import Asked, Inversion, Working, is_inversion, read_inversion, save_inversion
from trimtab.models.stylegan.adapter import Adapter, adapted
from trimtab.models.stylegan.generator import Generator
from trimtab.models.stylegan.preview import shrink

__all__ = ["Inversion", "InvertSettings", "InvertStep", "invert", "read_inversion", "save_inversion"]

PREVIEW_PX: Final = 256
SAVE_EVERY_S: Final = 5.0


@dataclass(frozen=True)
class InvertStep:
    """What is told of a step.

    Attributes:
        stage: "styles", then "adapter".
        step: how many of the stage's are done.
        steps: how many the stage has.
        psnr_db: how near the whole picture was when it was last looked at; every few steps and at the end.
        preview: gives that picture, (1, 3, rows, columns) within -1 to 1, at most 256 px.
        inversion: the result, in the last step alone.
    """

    stage: Stage
    step: int
    steps: int
    psnr_db: float
    preview: Callable[[], Tensor]
    inversion: Inversion | None = None


def invert(
    generator: Generator,
    picture: Float32[Tensor, "1 3 rows columns"],
    settings: InvertSettings | None = None,
    *,
    folder: Path | None = None,
) -> Iterator[InvertStep]:
    """Find styles, and an adapter around them, with which a generator makes a picture.

    Args:
        generator: frozen; no byte of it changes.
        picture: of the generator's size, within -1 to 1.
        settings: how; the default where None.
        folder: where the work is put down every few seconds and taken up to the same bits, and the result is kept; it
            exists. None keeps nothing.

    Yields:
        Every step; the last one has the result.

    Raises:
        RangeError: the picture has another size, or the folder holds the inversion of another picture.
        NonFiniteError: a gradient is no number.
        CheckpointError: the disk refused.
        FormatError: what is in the folder is damaged.
    """
    settings = settings or InvertSettings()
    wanted = (1, 3, generator.resolution, generator.resolution)
    if tuple(picture.shape) != wanted or not bool(torch.isfinite(picture).all()):
        raise RangeError(f"the picture is {list(picture.shape)}; this generator takes finite {list(wanted)}.")
    asked = Asked.of(generator, picture, settings)
    if folder is not None and is_inversion(folder):
        yield _known(generator, read_inversion(folder, generator, asked=asked), settings)
        return
    working = None if folder is None else Working(folder, asked)
    yield from _Run(Inverter(generator, picture, settings), asked, working).steps()


class _Run:
    """An inversion in progress."""

    def __init__(self, inverter: Inverter, asked: Asked, working: Working | None) -> None:
        self.inverter, self.asked, self.working = inverter, asked, working
        found = None if working is None else working.read(inverter.picture.device)
        self.state = found or inverter.first()
        self.looked = self.state  # the state that can be taken up: its look is made anew

    def steps(self) -> Iterator[InvertStep]:
        """Work to the end; closed early, it puts down what can be taken up."""
        try:
            look = self.inverter.look(self.state)
            for _ in self._stage("styles"):
                look = self._advance(look)
                yield self._told(look)
            if self.state.stage == "styles":
                self.state = self.looked = self.inverter.begin_adapter(self.state, look.psnr_db)
                look = self.inverter.look(self.state)
            for _ in self._stage("adapter"):
                look = self._advance(look)
                if self.state.step < self.inverter.steps_of("adapter"):
                    yield self._told(look)
        except (Interrupted, GeneratorExit):
            self._save()
            raise
        yield self._finish()

    def _stage(self, stage: Stage) -> Iterator[int]:
        while self.state.stage == stage and self.state.step < self.inverter.steps_of(stage):
            yield self.state.step

    def _advance(self, look: Look) -> Look:
        self.state = self.inverter.advance(self.state)
        done, last = self.state.step, self.inverter.steps_of(self.state.stage)
        if done % self.inverter.settings.look_every and done != last:
            return look
        look = self.inverter.look(self.state)
        self.looked = self.state
        if self.working is not None and time.monotonic() - self.working.saved_at > SAVE_EVERY_S:
            self._save()
        return look

    def _told(self, look: Look) -> InvertStep:
        state = self.state
        return InvertStep(
            state.stage, state.step, self.inverter.steps_of(state.stage), look.psnr_db, _preview(look.image)
        )

    def _save(self) -> None:
        if self.working is not None:
            self.working.save(self.looked)

    def _finish(self) -> InvertStep:
        """Round the adapter as it will be stored, and judge what is then made."""
        state = self.state
        adapter = (self.inverter.adapter(state) or Adapter({})).rounded()
        with torch.no_grad():
            image = adapted(self.inverter.generator, adapter).image(state.w_plus)
        reached = closeness(image, self.inverter.picture)
        result = Inversion(state.w_plus, adapter, reached, state.psnr_styles_db, self.asked)
        if self.working is not None:
            save_inversion(self.working.folder, result)
            self.working.remove()
        return InvertStep("adapter", state.step, state.step, reached, _preview(image), result)


def _known(generator: Generator, inversion: Inversion, settings: InvertSettings) -> InvertStep:
    """Tell of an inversion that was done before."""
    count = settings.adapter_steps

    @torch.no_grad()
    def preview() -> Tensor:
        return _shown(adapted(generator, inversion.adapter).image(inversion.w_plus))

    return InvertStep("adapter", count, count, inversion.psnr_db, preview, inversion)


def _preview(image: Tensor) -> Callable[[], Tensor]:
    return partial(_shown, image)


def _shown(image: Tensor) -> Tensor:
    return shrink(image, min(PREVIEW_PX, image.shape[-1]))
