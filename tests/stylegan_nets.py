"""Small generators: two StyleGAN2 networks whose every number is known, and random ones of any sizes and kind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from trimtab.models.stylegan.mobile import MobileSizes, MobileStyleGan
from trimtab.models.stylegan.mobile import tensor_shapes as mobile_shapes
from trimtab.models.stylegan.stylegan2 import Sizes, StyleGan2, tensor_shapes

FOLDER = Path(__file__).parent / "data/stylegan2-golden"
NAMES = ("net64", "net32-deep-mapping-noclamp")


@dataclass(frozen=True)
class Golden:
    """A network's sizes and state, and what the official network computes."""

    sizes: Sizes
    state: dict[str, Tensor]
    expected: dict[str, Tensor]

    def net(self, **options) -> StyleGan2:
        """Give the network."""
        return StyleGan2(self.sizes, self.state, **options)


def golden(name: str) -> Golden:
    """Read one of ``NAMES``."""
    facts = json.loads((FOLDER / f"{name}.json").read_text())
    sizes = Sizes(
        resolution=facts["res"],
        z_width=facts["z_dim"],
        w_width=facts["w_dim"],
        channel_base=facts["base"],
        channel_max=facts["cmax"],
        mapping_layers=facts["layers"],
        clamp=facts["clamp"],
    )
    return Golden(
        sizes, load_file(FOLDER / f"{name}.state.safetensors"), load_file(FOLDER / f"{name}.expected.safetensors")
    )


def random_state(sizes: Sizes, *, seed: int = 0) -> dict[str, Tensor]:
    """Give official tensors as a network has them before it was trained, with noise and biases that matter."""
    source = torch.Generator().manual_seed(seed)
    state = {name: torch.randn(shape, generator=source) for name, shape in tensor_shapes(sizes).items()}
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    for name, tensor in state.items():
        if name.endswith("resample_filter"):
            tensor.copy_(torch.outer(taps, taps) / 64)
        elif name.endswith("affine.bias"):
            tensor.mul_(0.1).add_(1)
        elif name.startswith("mapping.fc"):
            tensor.mul_(100 if name.endswith("weight") else 1)
        elif name.endswith(("bias", "noise_strength", "w_avg")):
            tensor.mul_(0.1)
    return state


def random_net(sizes: Sizes, *, seed: int = 0, **options) -> StyleGan2:
    """Give a network of ``random_state``."""
    return StyleGan2(sizes, random_state(sizes, seed=seed), **options)


def random_mobile_state(sizes: MobileSizes, *, seed: int = 0) -> dict[str, Tensor]:
    """Give tensors of a MobileStyleGAN that makes neither zeros nor infinities."""
    source = torch.Generator().manual_seed(seed)
    state = {name: torch.randn(shape, generator=source) for name, shape in mobile_shapes(sizes).items()}
    for name, tensor in state.items():
        if name.startswith("heads."):
            tensor.mul_(0.02)
        elif name.endswith(("style.bias", "up.bias")):
            tensor.mul_(0.1).add_(1 if name.endswith("up.bias") else 3)
        elif name.endswith(("noise", "bias", "w_mean")):
            tensor.mul_(0.1)
        elif tensor.dim() > 1 and not name.endswith(("const", "depthwise")):
            tensor.div_(tensor.shape[1] ** 0.5)
    return state


def random_mobile(sizes: MobileSizes, *, seed: int = 0) -> MobileStyleGan:
    """Give a network of ``random_mobile_state``."""
    return MobileStyleGan(sizes, random_mobile_state(sizes, seed=seed))
