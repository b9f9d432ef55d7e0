"""A StyleGAN2 found in a file of another program: its tensors under official names, before any of it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch

from trimtab.core.errors import RangeError
from trimtab.models.stylegan.frozen import REMEDY
from trimtab.models.stylegan.layers import FILTER
from trimtab.models.stylegan.mean import MEAN_LATENTS, mean_style
from trimtab.models.stylegan.stylegan2 import Latents, Sizes, StyleGan2
from trimtab.store.pickle_machine import Refused
from trimtab.store.pickled_tensors import PickledArray, PickledTensor

MOST_TENSORS: Final = 1024
MEAN_NAME: Final = "mapping.w_avg"
FILTER_TAPS: Final = (1.0, 3.0, 3.0, 1.0)


@dataclass(frozen=True)
class FoundGenerator:
    """What a file holds.

    Attributes:
        layout: whose layout of files it is.
        sizes: what determines the shapes.
        tensors: by official names, float32, views of the file where that is possible; the mean style may be missing.
        arguments: what the file says the network was made with.
        remark: what a user of the network must know; empty where there is nothing.
    """

    layout: str
    sizes: Sizes
    tensors: Mapping[str, np.ndarray]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""

    def check(self, most_bytes: int) -> None:
        """Insist that the tensors make a network.

        Args:
            most_bytes: more than this is not in the file.

        Raises:
            Refused: a tensor is missing, unknown, of another shape or type, or holds what is no number.
        """
        if sum(tensor.nbytes for tensor in self.tensors.values()) > most_bytes:
            raise Refused("holds tensors that are larger than the file itself")
        for name, tensor in self.tensors.items():
            if tensor.dtype != np.float32:
                raise Refused(f"tensor {name!r:.100} has elements of {tensor.dtype}; allowed is float32")
            if not np.isfinite(tensor).all():
                raise Refused(f"tensor {name!r:.100} holds values that are not finite")
        shapes = {name: torch.empty(tensor.shape, device="meta") for name, tensor in self.tensors.items()}
        shapes.setdefault(MEAN_NAME, torch.empty(self.sizes.w_width, device="meta"))
        try:
            StyleGan2(self.sizes, shapes)
        except RangeError as error:
            raise _no_network(error) from error

    def with_mean(self) -> FoundGenerator:
        """Give the same generator with its mean style, estimated where the file does not tell it.

        Raises:
            Refused: its styles are not finite.
        """
        if MEAN_NAME in self.tensors:
            return self
        with torch.device("meta"):
            mapping = Latents(self.sizes)
        own = {name.removeprefix("mapping."): tensor for name, tensor in self.tensors.items()}
        weights = {name: torch.from_numpy(own[name].copy()) for name in mapping.state_dict() if name in own}
        mapping.load_state_dict(weights, strict=False, assign=True)
        mean = mean_style(mapping, self.sizes.z_width).numpy()
        if not np.isfinite(mean).all():
            raise Refused("makes styles that are not finite")
        remark = f"The mean style was estimated from {MEAN_LATENTS} latents."
        return replace(self, tensors={**self.tensors, MEAN_NAME: mean}, remark=f"{self.remark} {remark}".strip())


def _no_network(error: RangeError) -> Refused:
    return Refused(f"makes no StyleGAN2 ({str(error).removesuffix(REMEDY).rstrip(' .')})")


def array_of(value: Any, name: str) -> np.ndarray:
    """Give the numbers of a tensor or array from a file.

    Raises:
        Refused: it is none, leaves its storage, or has another order of bytes than the machine: a copy of each of many
            names for one array would take any amount of memory.
    """
    if not isinstance(value, PickledTensor | PickledArray):
        raise Refused(f"{name!r:.100} is no tensor")
    array = value.values()
    if not array.dtype.isnative:
        raise Refused(f"tensor {name!r:.100} has another order of bytes than this machine")
    return array


def resample_filter() -> np.ndarray:
    """Give the filter that official files hold beside each layer.

    Source: [1, 3, 3, 1] along both axes, with the sum 1.
    """
    taps = np.array(FILTER_TAPS, np.float32)
    assert taps.size == FILTER
    return np.outer(taps, taps) / np.float32(taps.sum() ** 2)


def sizes_of(tensors: Mapping[str, np.ndarray], *, clamp: float | None) -> Sizes:
    """Tell the sizes of a network from the shapes of its tensors.

    Raises:
        Refused: they are those of no network.
    """
    blocks = sorted(
        int(part[1:])
        for part in {name.split(".")[1] for name in tensors if name.startswith("synthesis.b")}
        if part[1:].isdecimal()
    )
    layers = sum(name.startswith("mapping.fc") and name.endswith(".weight") for name in tensors)
    try:
        lowest = tensors["synthesis.b4.conv1.weight"].shape[0]
        highest = tensors[f"synthesis.b{blocks[-1]}.conv1.weight"].shape[0]
        width, latent = tensors["mapping.fc0.weight"].shape
        return Sizes(
            resolution=blocks[-1],
            z_width=latent,
            w_width=width,
            channel_base=highest * blocks[-1],
            channel_max=lowest,
            mapping_layers=layers,
            clamp=clamp,
        )
    except RangeError as error:
        raise _no_network(error) from error
    except (KeyError, IndexError, ValueError) as error:
        raise Refused("holds no StyleGAN2: its lowest or highest layers are missing") from error
