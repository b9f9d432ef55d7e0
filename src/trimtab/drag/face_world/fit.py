"""From a picture back to the numbers of its face: the renderer is fitted to it, and the landmarks are read off.

This is how an edited picture is judged: no detector has a say in it, and the residual tells whether the picture is one
of this world at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from trimtab.core.errors import NonFiniteError, RangeError
from trimtab.drag.adam import Moments, adam
from trimtab.drag.face_world.landmarks import landmarks
from trimtab.drag.face_world.parameters import WIDTH, parameters
from trimtab.drag.face_world.render import render

SCALES: Final = (1, 2, 4, 8)
"""Pictures are compared at their own size and shrunk by these: coarse ones pull from afar, fine ones settle."""
DECAY_SECOND: Final = 0.99


@dataclass(frozen=True)
class FitSettings:
    """How the renderer is fitted.

    Attributes:
        steps: of Adam.
        lr: its first step size, in standard deviations of a latent's numbers; it falls to a tenth.
        supersampling: of the rendering while fitting; the residual is measured with the full one.
        tether: pull towards the start, for numbers that the picture does not show.
    """

    steps: int = 60
    lr: float = 0.15
    supersampling: int = 1
    tether: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse what no fit can use.

        Raises:
            RangeError: as it says.
        """
        if not (1 <= self.steps <= 100_000 and 0 < self.lr <= 1 and 0 <= self.tether <= 1):
            given = f"{self.steps} steps, lr {self.lr:g}, tether {self.tether:g}"
            raise RangeError(f"{given}: allowed are 1 to 100000 steps, lr above 0 up to 1, tether 0 to 1.")


@dataclass(frozen=True)
class Fit:
    """Faces that were found in pictures.

    Attributes:
        latents: of the faces; not normalised.
        values: their numbers.
        landmarks: their points, as x and y in pixels of the picture.
        residual: root mean square difference of picture and rendering, in levels of 255.
    """

    latents: Float32[Tensor, "batch 32"]
    values: Float32[Tensor, "batch 32"]
    landmarks: Float32[Tensor, "batch 21 2"]
    residual: Float32[Tensor, " batch"]


def fit_faces(
    pictures: Float32[Tensor, "batch 3 rows columns"],
    *,
    start: Float32[Tensor, "batch 32"],
    settings: FitSettings = FitSettings(),
) -> Fit:
    """Find the faces that look most like pictures.

    Args:
        pictures: within -1 to 1, square; each is fitted by itself.
        start: latents to begin from, such as those of the faces before an edit.
        settings: how.

    Raises:
        RangeError: pictures are not square, or a start is missing.
        NonFiniteError: a picture holds what is no number.
    """
    side = pictures.shape[-1]
    if pictures.shape[2] != side or start.shape != (len(pictures), WIDTH):
        given = f"pictures {list(pictures.shape)} and starts {list(start.shape)}"
        raise RangeError(f"{given}: expected are square pictures and {WIDTH} numbers for each.")
    if not bool(torch.isfinite(pictures).all()):
        raise NonFiniteError("a picture holds values that are no numbers. Fit pictures within -1 to 1.")
    latents = start.detach().clone()
    moments = Moments.none(latents)
    for step in range(1, settings.steps + 1):
        grad = _gradient(latents, pictures, start, settings)
        lr = settings.lr * 0.1 ** (step / settings.steps)
        latents, moments = adam(latents, grad, moments, lr, decay_second=DECAY_SECOND)
    return _found(latents, pictures)


def _gradient(latents: Tensor, pictures: Tensor, start: Tensor, settings: FitSettings) -> Tensor:
    with torch.enable_grad():
        latents = latents.requires_grad_()
        made = render(parameters(latents), resolution=pictures.shape[-1], supersampling=settings.supersampling)
        differences = _shrunk(made - pictures)
        loss = sum((piece.abs().mean(dim=(1, 2, 3)).sum() for piece in differences), start=latents.new_zeros(()))
        loss = loss + settings.tether * (latents - start).square().sum()
        (grad,) = torch.autograd.grad(loss, latents)
    return grad


def _shrunk(difference: Tensor) -> list[Tensor]:
    fitting = [scale for scale in SCALES if difference.shape[-1] % scale == 0]
    return [F.avg_pool2d(difference, scale) for scale in fitting]


@torch.no_grad()
def _found(latents: Tensor, pictures: Tensor) -> Fit:
    values = parameters(latents.detach())
    made = render(values, resolution=pictures.shape[-1])
    residual = (made - pictures).square().mean(dim=(1, 2, 3)).sqrt() * 127.5
    return Fit(latents.detach(), values, landmarks(values, resolution=pictures.shape[-1]), residual)
