"""The steps of an inversion: first styles, then an adapter around them, each a function from state to state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import torch
from jaxtyping import Float32
from torch import Tensor

from trimtab.core.errors import NonFiniteError
from trimtab.drag.adam import Moments, adam
from trimtab.drag.directions import natural_directions
from trimtab.drag.invert.cheap import CheapView
from trimtab.drag.invert.guess import nearest_style
from trimtab.drag.invert.loss import SQUARES_NEAR, picture_loss
from trimtab.drag.invert.settings import InvertSettings
from trimtab.models.stylegan.adapter import Adapter, Factors, adapted, fresh_adapter, most_rank
from trimtab.models.stylegan.generator import Generator, Window
from trimtab.models.stylegan.preview import psnr, shrink

Stage: TypeAlias = Literal["styles", "adapter"]
Learned: TypeAlias = dict[str, Tensor]
COMMON: Final = "common"
OWN: Final = "own"
PART_GRID_PX: Final = 8
SEEN_PX: Final[dict[Stage, int]] = {"styles": 64, "adapter": 128}
"""Size of the features through which the whole picture is seen cheaply."""
WARM_UP: Final = 10
MOST_DB: Final = 120.0
"""Of pictures that are the same: JSON has no infinity."""
DECAY_SECOND: Final = 0.99
"""Gradients shrink a hundredfold within a stage, and Adam must notice."""
LEAST_RATE: Final = 0.05
"""Share of the learning rate that is left at the end of a stage."""


@dataclass(frozen=True)
class State:
    """A moment of an inversion.

    Attributes:
        stage: what is learned now.
        step: how many steps of it are done.
        learned: what is learned, by name.
        moments: Adam's, by the same names.
        w_plus: styles that the adapter stage holds fixed; those that the first stage starts from.
        psnr_styles_db: what the styles reached alone; 0 in the first stage.
    """

    stage: Stage
    step: int
    learned: Learned
    moments: Mapping[str, Moments]
    w_plus: Float32[Tensor, "1 styles width"]
    psnr_styles_db: float = 0.0


@dataclass(frozen=True)
class Look:
    """The whole picture of a state, and how near it is to the one that is wanted."""

    image: Float32[Tensor, "1 3 rows columns"]
    psnr_db: float


class Inverter:
    """Finds styles, then an adapter, for one picture."""

    def __init__(
        self, generator: Generator, picture: Float32[Tensor, "1 3 rows columns"], settings: InvertSettings
    ) -> None:
        """Take the picture, which has the generator's size."""
        self.generator, self.settings = generator, settings
        self.picture = picture.to(generator.w_mean.device)
        self._basis = natural_directions(generator)
        self._lengths = self._basis.norm(dim=1)  # so that a direction counts by how unusual a shift along it is
        self._view: CheapView | None = None

    def first(self) -> State:
        """Give the state before the first step: the style of the random picture that is most like this one."""
        mean = self.generator.w_mean
        guess = nearest_style(self.generator, self.picture, count=self.settings.guesses)
        learned = {COMMON: mean.new_zeros(1, len(mean)), OWN: mean.new_zeros(self.generator.styles, len(mean))}
        start = self.generator.w_plus(guess)
        return State("styles", 0, learned, _no_moments(learned), start)

    def steps_of(self, stage: Stage) -> int:
        """Give how many steps a stage has."""
        return self.settings.style_steps if stage == "styles" else self.settings.adapter_steps

    def styles(self, state: State) -> Float32[Tensor, "1 styles width"]:
        """Give the styles of a state."""
        return self._styles(state, state.learned) if state.stage == "styles" else state.w_plus

    def adapter(self, state: State) -> Adapter | None:
        """Give the adapter of a state; None while styles are learned."""
        return None if state.stage == "styles" else _adapter_of(state.learned)

    @torch.no_grad()
    def look(self, state: State) -> Look:
        """Make the whole picture of a state."""
        adapter = self.adapter(state)
        generator = self.generator if adapter is None else adapted(self.generator, adapter)
        image = generator.image(self.styles(state))
        self._view = CheapView(generator, self.styles(state), image, size=SEEN_PX[state.stage])
        return Look(image, closeness(image, self.picture))

    def begin_adapter(self, state: State, psnr_db: float) -> State:
        """Hold the styles where they are and begin with an adapter that changes nothing."""
        rank = min(self.settings.rank, most_rank(self.generator))
        factors = fresh_adapter(self.generator, rank=rank, seed=self.settings.seed).factors
        learned = {f"{name}.{key}": part for name, pair in factors.items() for key, part in pair._asdict().items()}
        return State("adapter", 0, learned, _no_moments(learned), self.styles(state).detach(), psnr_db)

    def advance(self, state: State) -> State:
        """Take one step.

        Raises:
            NonFiniteError: a gradient is no number.
        """
        if state.stage == "styles":
            return self._advance_styles(state)
        return self._advance_adapter(state)

    def _advance_styles(self, state: State) -> State:
        steps = self.settings.style_steps
        cheap = state.step < steps - self.settings.detail_steps
        rate = self.settings.style_lr if cheap else self.settings.detail_lr
        loss = self._cheap_style_loss if cheap else self._style_loss
        return self._step(state, loss, rate * _warm(state.step) * (1 - (1 - LEAST_RATE) * state.step / steps))

    def _advance_adapter(self, state: State) -> State:
        whole = round(self.settings.whole_share * self.settings.adapter_steps)
        if state.step < whole:
            return self._step(state, self._whole_loss, self.settings.adapter_lr * _eased(state.step, whole))
        done, steps = state.step - whole, self.settings.adapter_steps - whole
        if done == 0:  # gradients of parts are of another size
            state = replace(state, moments=_no_moments(state.learned))
        return self._step(state, self._part_loss, self.settings.part_lr * _eased(done, steps))

    def _step(self, state: State, loss: Callable[[State, Learned], Tensor], lr: float) -> State:
        learned = {name: tensor.clone().requires_grad_() for name, tensor in state.learned.items()}
        given = list(learned.values())
        # What lies above the features that are looked at has no gradient: it stays.
        grads = torch.autograd.grad(loss(state, learned), given, allow_unused=True, materialize_grads=True)
        if not all(bool(torch.isfinite(grad).all()) for grad in grads):
            raise NonFiniteError(f"a gradient of step {state.step + 1} is not finite. Lower the learning rates.")
        values, moments = {}, {}
        for (name, tensor), grad in zip(state.learned.items(), grads, strict=True):
            values[name], moments[name] = adam(tensor, grad, state.moments[name], lr, decay_second=DECAY_SECOND)
        return replace(state, step=state.step + 1, learned=values, moments=moments)

    def _cheap_style_loss(self, state: State, learned: Learned) -> Tensor:
        made, wanted = self._seen(self.generator, self._styles(state, learned))
        return picture_loss(made, wanted) + self._strangeness(learned)

    def _style_loss(self, state: State, learned: Learned) -> Tensor:
        window = self._part(state)
        made = self.generator.image_part(self._styles(state, learned), window)
        return picture_loss(made, self._wanted(window)) + self._strangeness(learned)

    def _whole_loss(self, state: State, learned: Learned) -> Tensor:
        made, wanted = self._seen(adapted(self.generator, _adapter_of(learned)), state.w_plus)
        return picture_loss(made, wanted, squares=SQUARES_NEAR)

    def _part_loss(self, state: State, learned: Learned) -> Tensor:
        window = self._part(state)
        generator = adapted(self.generator, _adapter_of(learned))
        return picture_loss(generator.image_part(state.w_plus, window), self._wanted(window), squares=SQUARES_NEAR)

    def _seen(self, generator: Generator, w_plus: Tensor) -> tuple[Tensor, Tensor]:
        """See a small picture cheaply, and shrink to its size what it should be."""
        assert self._view is not None
        return self._view.picture(generator, w_plus), shrink(self.picture, self._view.side)

    def _strangeness(self, learned: Learned) -> Tensor:
        """Say how far styles are from the guess and from each other: drags work among usual styles."""
        apart = (learned[OWN].square() * self._lengths).sum(dim=1).mean() * self.settings.together
        away: Tensor = apart + (learned[COMMON].square() * self._lengths).sum() * self.settings.near_guess
        return away

    def _styles(self, state: State, learned: Learned) -> Tensor:
        return state.w_plus + ((learned[COMMON] + self.settings.own_share * learned[OWN]) @ self._basis)[None]

    def _wanted(self, window: Window) -> Tensor:
        return self.picture[:, :, window.top : window.bottom, window.left : window.right]

    def _part(self, state: State) -> Window:
        """Draw the part of the picture that a step looks at; the same for the same step."""
        resolution = self.generator.resolution
        side = min(self.settings.part_px, resolution)
        source = torch.Generator().manual_seed(
            (self.settings.seed * 2 + (state.stage == "adapter")) * 100_003 + state.step
        )
        # Drawn beyond the edges and put back: else the picture's border would hardly ever be seen.
        beyond = side // 3
        drawn = torch.randint(-beyond, resolution - side + beyond + 1, (2,), generator=source)
        top, left = (drawn.clamp(0, resolution - side) // PART_GRID_PX * PART_GRID_PX).tolist()
        return Window(top, left, top + side, left + side)


def closeness(a: Float32[Tensor, "1 3 rows columns"], b: Float32[Tensor, "1 3 rows columns"]) -> float:
    """Give the PSNR of pictures, in dB, up to ``MOST_DB``."""
    return min(psnr(a, b), MOST_DB)


def _warm(done: int) -> float:
    return min(1.0, (done + 1) / WARM_UP)


def _eased(done: int, steps: int) -> float:
    """Give the share of the rate: up in a few steps, then down along a cosine."""
    return _warm(done) * max(LEAST_RATE, 0.5 * (1 + math.cos(math.pi * done / steps)))


def _adapter_of(learned: Learned) -> Adapter:
    names = sorted({name.rpartition(".")[0] for name in learned})
    return Adapter({name: Factors(*(learned[f"{name}.{key}"] for key in Factors._fields)) for name in names})


def _no_moments(learned: Learned) -> dict[str, Moments]:
    return {name: Moments.none(tensor) for name, tensor in learned.items()}
