"""The drag itself: pull features towards targets by changing styles, then look where the points are now.

Everything a step needs is in a ``Frame``; ``advance`` makes the next of it and changes nothing, so that going back,
going on elsewhere and repeating to the same bits need no machinery.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from trimtab.core.errors import NonFiniteError, RangeError
from trimtab.drag.adam import Moments, adam
from trimtab.drag.directions import natural_directions
from trimtab.drag.edit import Edit, as_tensor
from trimtab.drag.mask import carry, mask_loss
from trimtab.drag.motion import motion_loss, step_vectors
from trimtab.drag.sampling import Lattice, MapPart
from trimtab.drag.track import lost, make_template, track
from trimtab.drag.windows import window_of
from trimtab.models.stylegan.generator import Features, Generator

End: TypeAlias = Literal["", "arrived", "lost", "steps"]
"""Why a drag is over; empty while it is not."""


@dataclass(frozen=True)
class Frame:
    """A moment of a drag.

    Attributes:
        number: steps done.
        offsets: what is added to the start's styles, one row a free group; in natural directions where those are used.
        moments: Adam's.
        sought: where they were looked for, which determines the window of the features.
        points: where the handles were found.
        lost: handles that nothing looks like; ``points`` is where they were seen last, and they are not pulled.
    """

    number: int
    offsets: Float32[Tensor, "groups width"]
    moments: Moments
    sought: Float64[Tensor, "points 2"]
    points: Float64[Tensor, "points 2"]
    lost: Bool[Tensor, " points"]


class Engine:
    """Drags the points of one edit on one generator.

    Attributes:
        start: styles before the drag.
        start_features: what is shown before it, of the whole map.
    """

    def __init__(
        self,
        generator: Generator,
        start: Float32[Tensor, "1 styles width"],
        edit: Edit,
        *,
        windowed: bool = True,
        shown: Features | None = None,
    ) -> None:
        """Look at the start.

        Args:
            generator: frozen.
            start: styles before the drag.
            edit: what to do.
            windowed: compute only what the points need where there is no mask; steps are the same, to the bit wherever
                the convolutions of a part are.
            shown: what is shown before the drag, where masks of earlier edits kept something that its styles do not
                make; the drag then changes that.

        Raises:
            RangeError: the edit does not fit the generator.
        """
        edit.check(generator)
        self.generator, self.start, self.edit, self.settings = generator, start, edit, edit.settings
        self.lattice = Lattice(generator.resolution, edit.settings.feature_size, edit.settings.align_corners)
        self.targets = as_tensor(edit.targets)
        self.windowed = windowed and edit.mask is None and shown is None
        with torch.no_grad():
            self._begun = generator.features(start, self.lattice.size)
        self.start_features = shown or self._begun
        whole = self._part(self.start_features)
        self._template = make_template(whole, as_tensor(edit.handles), edit.settings)
        self._basis = natural_directions(generator) if edit.settings.directions == "natural" else None
        self._fixed = None if edit.mask is None else 1 - edit.mask.at(self.lattice.size).to(start)
        self._known: tuple[Frame, Tensor, Features] | None = None

    def first(self) -> Frame:
        """Give the moment before the first step."""
        rows = 1 if self.settings.styles == "w" else self.settings.free_groups
        offsets = self.start.new_zeros(rows, self.generator.w_width)
        points = as_tensor(self.edit.handles)
        return Frame(0, offsets, Moments.none(offsets), points, points, torch.zeros(len(points), dtype=torch.bool))

    def w_plus(self, offsets: Float32[Tensor, "groups width"]) -> Float32[Tensor, "1 styles width"]:
        """Give the styles that a frame stands for."""
        free = self.generator.groups[: self.settings.free_groups]
        rows = [0 if len(offsets) == 1 else row for row, group in enumerate(free) for _ in group]
        styles = torch.tensor([style for group in free for style in group], device=self.start.device)
        shifts = offsets if self._basis is None else offsets @ self._basis
        return self.start.index_add(1, styles, shifts[rows][None])

    def advance(self, frame: Frame) -> Frame:
        """Take one step: pull, change the styles, compute the new features, find the points in them.

        Raises:
            NonFiniteError: the gradient is no number.
        """
        offsets, features = self._features(frame, grad=True)
        loss = self._loss(features, frame)
        (grad,) = torch.autograd.grad(loss, offsets)
        if not bool(torch.isfinite(grad).all()):
            raise NonFiniteError(
                f"the gradient of step {frame.number + 1} is not finite. Lower lr, or undo some steps."
            )
        value, moments = adam(frame.offsets, grad, frame.moments, self.settings.lr)
        return self._found(Frame(frame.number + 1, value, moments, frame.points, frame.points, frame.lost))

    def features(self, frame: Frame) -> Features:
        """Give the features of a frame: of the window that its step used, or of the whole map."""
        return self._features(frame, grad=False)[1]

    def distances(self, frame: Frame) -> Float64[Tensor, " points"]:
        """Give how far each point is from its target, in pixels of the picture."""
        way = self.targets - frame.points
        if self.settings.distance == "coordinate":
            return way.abs().amax(dim=1)
        straight: Tensor = torch.linalg.vector_norm(way, dim=1)
        return straight

    def end(self, frame: Frame) -> End:
        """Say whether and why the drag is over."""
        arrived = self.distances(frame) <= self.settings.stop_px
        if bool((arrived & ~frame.lost).all()):
            return "arrived"
        if bool((arrived | frame.lost).all()):
            return "lost"
        return "steps" if frame.number >= self.settings.max_steps else ""

    def _loss(self, features: Features, frame: Frame) -> Tensor:
        far = (self.distances(frame) > self.settings.push_px) & ~frame.lost
        points, targets = frame.points[far], self.targets[far]
        reduction = self.settings.loss
        fixed = self._fixed if self.settings.mask_weight > 0 else None
        if not len(points) and fixed is None:
            raise RangeError("no point can be pulled: each has arrived or is lost. Undo some steps, or set new points.")
        loss: Tensor = features.values.new_zeros(())
        if len(points):
            steps = step_vectors(points, targets, self.settings)
            part = self._part(features)
            loss = motion_loss(part, points, steps, radius_px=self.settings.radius_px, reduction=reduction)
        if fixed is not None:
            start, resolution = self.start_features.values, self.generator.resolution
            change = mask_loss(features.values, start, fixed, resolution=resolution, reduction=reduction)
            loss = loss + self.settings.mask_weight * change
        return loss

    def _found(self, frame: Frame) -> Frame:
        """Track the points of the step before in the features of a new frame."""
        offsets, features = self._features(frame, grad=True)
        with torch.no_grad():
            part = self._part(features)
            found = track(part, frame.points, self._template, self.settings)
            gone = lost(found, self._template, frame.lost, self.settings)
            points = torch.where(gone[:, None], frame.points, found.places)
        result = replace(frame, points=points, lost=gone)
        self._known = result, offsets, features
        return result

    def _features(self, frame: Frame, *, grad: bool) -> tuple[Tensor, Features]:
        """Compute the features of a frame, unless they are known from the step that made it."""
        if self._known is not None and self._known[0] is frame:
            return self._known[1:]
        with torch.set_grad_enabled(grad):
            offsets = frame.offsets.clone().requires_grad_(grad)
            window = window_of(frame.sought, self.lattice, self.settings) if self.windowed else None
            features = self.generator.features(self.w_plus(offsets), self.lattice.size, window=window)
            if self.start_features is self._begun:
                return offsets, features
            return offsets, carry(features, self._begun, self.start_features)

    def _part(self, features: Features) -> MapPart:
        window = features.window
        top, left = (0, 0) if window is None else (window.top, window.left)
        return MapPart(features.values[0], self.lattice, top, left)
