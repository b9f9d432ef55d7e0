"""What all generators here do alike: take their tensors over, repeat styles, refuse wrong requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.core.errors import RangeError, did_you_mean
from trimtab.models.stylegan.generator import Features

REMEDY = "Import the generator again."


def assign_tensors(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors into the buffers of a network, without a copy.

    Raises:
        RangeError: a tensor is missing, unknown, or of another shape or type.
    """
    wanted = net.state_dict()
    for name in tensors.keys() - wanted.keys():
        raise RangeError(f"tensor {name!r:.100} has no place in the generator. {did_you_mean(name, wanted)}")
    for name, place in wanted.items():
        if name not in tensors:
            raise RangeError(f"the generator's tensor {name!r} is missing. {REMEDY}")
        given = tensors[name]
        if given.shape != place.shape or given.dtype != torch.float32:
            found, expected = (f"{list(shape)}" for shape in (given.shape, place.shape))
            raise RangeError(f"{name!r} is {given.dtype} {found}; expected is torch.float32 {expected}. {REMEDY}")
    net.load_state_dict({name: tensor.detach() for name, tensor in tensors.items()}, assign=True)


def spread_style(
    w: Float[Tensor, "batch width"], mean: Float[Tensor, " width"], *, styles: int, truncation: float
) -> Float[Tensor, "batch styles width"]:
    """Draw styles towards the mean and repeat each for every layer."""
    drawn = w if truncation == 1 else torch.lerp(mean, w, truncation)
    return drawn[:, None].repeat(1, styles, 1)


def check_size(size: int, sizes: Iterable[int]) -> None:
    """Refuse a size at which there are no features.

    Raises:
        RangeError: as it says.
    """
    if size not in (allowed := tuple(sizes)):
        raise RangeError(f"features at {size} px: allowed are {', '.join(map(str, allowed))}.")


def check_whole(features: Features) -> None:
    """Refuse features of a window where those of the whole map are needed.

    Raises:
        RangeError: as it says.
    """
    if features.window is not None:
        raise RangeError("features of a window make no whole picture. Take them without a window.")
