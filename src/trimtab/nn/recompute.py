"""Activations that are cheaper to compute again than to keep.

A norm or a gated activation costs a thousandth of the matrix products around it, but its output is as large as
theirs. Inside ``recomputing()`` such outputs are not kept for the backward pass: what is kept is how to make them,
from tensors that are kept anyway.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

Recipe = Callable[[], Tensor]


@dataclass(frozen=True)
class _Kept:
    """Stands for a view of an output that can be made again."""

    recipe: Recipe
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class _Kitchen:
    """The outputs that can be made again, by storage, and the one that was made last."""

    def __init__(self) -> None:
        self._recipes: dict[int, tuple[weakref.ref[Tensor], Recipe]] = {}
        self._last: tuple[Recipe, Tensor] | None = None

    def offer(self, output: Tensor, recipe: Recipe) -> None:
        """Take a recipe for as long as the output lives; afterwards only a backward pass that needs it holds it.

        Of a layer that a checkpoint computes again nobody keeps outputs, so that their inputs must not be kept either.
        """
        place = output.untyped_storage()._cdata

        def forget(dead: weakref.ref[Tensor]) -> None:
            if place in self._recipes and self._recipes[place][0] is dead:
                del self._recipes[place]

        self._recipes[place] = (weakref.ref(output, forget), recipe)

    def recipe_of(self, tensor: Tensor) -> Recipe | None:
        reference, recipe = self._recipes.get(tensor.untyped_storage()._cdata, (None, None))
        output = reference() if reference is not None else None
        same = output is not None and output.untyped_storage()._cdata == tensor.untyped_storage()._cdata
        return recipe if same else None

    def pack(self, tensor: Tensor) -> Tensor | _Kept:
        recipe = self.recipe_of(tensor)
        if recipe is None:
            return tensor
        return _Kept(recipe, tensor.size(), tensor.stride(), int(tensor.storage_offset()))

    def unpack(self, kept: Tensor | _Kept) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        if self._last is None or self._last[0] is not kept.recipe:
            with torch.no_grad():
                self._last = (kept.recipe, kept.recipe())
        return self._last[1].as_strided(kept.size, kept.stride, kept.offset)


_current: ContextVar[_Kitchen | None] = ContextVar("recomputing", default=None)


@contextmanager
def recomputing() -> Iterator[None]:
    """Keep recipes instead of offered outputs for whatever runs forward inside the block.

    The backward pass may run inside or after it.
    """
    kitchen = _Kitchen()
    token = _current.set(kitchen)
    try:
        with torch.autograd.graph.saved_tensors_hooks(kitchen.pack, kitchen.unpack):
            yield
    finally:
        _current.reset(token)


def offer(output: Tensor, recipe: Recipe) -> Tensor:
    """State how an output can be made again, bit for bit; gives the output back.

    Outside ``recomputing()``, and while a network is compiled, nothing happens.

    Args:
        output: contiguous; made by ``recipe``.
        recipe: takes nothing and holds only tensors that are kept for the backward pass anyway.
    """
    if torch.compiler.is_compiling():
        return output
    kitchen = _current.get()
    if kitchen is not None and output.requires_grad:
        kitchen.offer(output, recipe)
    return output


def is_recomputed(tensor: Tensor) -> bool:
    """Tell whether a tensor would be made again rather than kept."""
    kitchen = _current.get()
    return kitchen is not None and kitchen.recipe_of(tensor) is not None
