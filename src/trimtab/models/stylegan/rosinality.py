"""Generators in the layout of rosinality's ``.pt`` files, which most PyTorch trainings outside the official code write.

Weights stand there as in official files, up to added axes of 1 and the names.

Source: rosinality/stylegan2-pytorch (MIT): the names in its state dicts.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from trimtab.models.stylegan.found import MEAN_NAME, MOST_TENSORS, FoundGenerator, array_of, resample_filter, sizes_of
from trimtab.store.pickle_machine import Refused

KEY: Final = "g_ema"
AVERAGE: Final = "latent_avg"
FILTER_GAIN: Final = 4.0  # these files hold the filter of an up layer with its gain
CONVOLUTION: Final = (
    ("conv.weight", "weight", 4),
    ("conv.modulation.weight", "affine.weight", 2),
    ("conv.modulation.bias", "affine.bias", 1),
    ("activate.bias", "bias", 1),
    ("noise.weight", "noise_strength", 0),
)
PICTURE: Final = (
    ("conv.weight", "weight", 4),
    ("conv.modulation.weight", "affine.weight", 2),
    ("conv.modulation.bias", "affine.bias", 1),
)
"""Name here, official name, and axes without those of 1 at the front."""


def rosinality_generator(value: Any) -> FoundGenerator:
    """Find the averaged generator in what ``read_archive`` gives.

    Raises:
        Refused: there is none, or it is of another kind.
    """
    state = value.get(KEY) if isinstance(value, dict) else None
    if not isinstance(state, dict) or not 0 < len(state) <= MOST_TENSORS:
        raise Refused(f"holds no {KEY!r}: no generator in the layout of rosinality's files")
    tensors = _Renaming({str(name): array_of(item, str(name)) for name, item in state.items()})
    for index in range(sum(name.startswith("style.") and name.endswith(".weight") for name in tensors.given)):
        for kind, axes in (("weight", 2), ("bias", 1)):
            tensors.move(f"style.{index + 1}.{kind}", f"mapping.fc{index}.{kind}", axes=axes)
    _synthesis(tensors)
    if tensors.given:
        raise Refused(f"holds {sorted(tensors.given)[0]!r:.80}, which has no place in a StyleGAN2")
    sizes = sizes_of(tensors.official, clamp=None)
    if AVERAGE in value:
        tensors.official[MEAN_NAME] = array_of(value[AVERAGE], AVERAGE).reshape(-1)
    return FoundGenerator("rosinality", sizes, tensors.official, remark=tensors.remark)


class _Renaming:
    """Tensors that were given and are left, and those that have an official name by now."""

    def __init__(self, given: dict[str, np.ndarray]) -> None:
        self.given, self.remark = given, ""
        self.official: dict[str, np.ndarray] = {}

    def take(self, name: str) -> np.ndarray:
        if name not in self.given:
            raise Refused(f"holds no {name!r}; it is no generator in the layout of rosinality's files")
        return self.given.pop(name)

    def move(self, name: str, official: str, *, axes: int) -> None:
        """Give a tensor its official name, without the axes of 1 that are too many at its front."""
        tensor = self.take(name)
        more = tensor.ndim - axes
        if more < 0 or any(n != 1 for n in tensor.shape[:more]):
            raise Refused(f"tensor {name!r} has the shape {list(tensor.shape)}; expected are {axes} axes")
        self.official[official] = tensor.reshape(tensor.shape[more:])

    def drop_filter(self, name: str) -> None:
        """Pass over a filter that is the usual one."""
        found, usual = self.take(name), resample_filter() * FILTER_GAIN
        if found.shape != usual.shape or not np.allclose(found, usual, rtol=1e-4):
            raise Refused(f"filters with other numbers than [1, 3, 3, 1] in {name!r}, which is not supported")


def _synthesis(tensors: _Renaming) -> None:
    tensors.move("input.input", "synthesis.b4.const", axes=3)
    noisy = any(name.startswith("noises.") for name in tensors.given)
    if not noisy:
        tensors.remark = "The file holds no noise; there is none in the pictures."
    _convolution(tensors, "conv1", "synthesis.b4.conv1", 0 if noisy else None, size=4)
    _picture(tensors, "to_rgb1", "synthesis.b4.torgb")
    tensors.official["synthesis.b4.resample_filter"] = resample_filter()
    for index in range(sum(name.startswith("to_rgbs.") and name.endswith(".kernel") for name in tensors.given)):
        size, block = 8 << index, f"synthesis.b{8 << index}"
        for half in (0, 1):
            noise = 1 + 2 * index + half if noisy else None
            _convolution(tensors, f"convs.{2 * index + half}", f"{block}.conv{half}", noise, size=size)
        tensors.drop_filter(f"convs.{2 * index}.conv.blur.kernel")
        tensors.drop_filter(f"to_rgbs.{index}.upsample.kernel")
        _picture(tensors, f"to_rgbs.{index}", f"{block}.torgb")
        tensors.official[f"{block}.resample_filter"] = resample_filter()


def _convolution(tensors: _Renaming, name: str, official: str, noise: int | None, *, size: int) -> None:
    for part, official_part, axes in CONVOLUTION:
        tensors.move(f"{name}.{part}", f"{official}.{official_part}", axes=axes)
    if noise is None:
        tensors.official[f"{official}.noise_const"] = np.zeros((size, size), np.float32)
    else:
        tensors.move(f"noises.noise_{noise}", f"{official}.noise_const", axes=2)
    tensors.official[f"{official}.resample_filter"] = resample_filter()


def _picture(tensors: _Renaming, name: str, official: str) -> None:
    for part, official_part, axes in PICTURE:
        tensors.move(f"{name}.{part}", f"{official}.{official_part}", axes=axes)
    tensors.official[f"{official}.bias"] = tensors.take(f"{name}.bias").reshape(-1)
