"""The 32 numbers that make a face, and how they follow from a latent.

A generator's mapping looks at a latent's direction alone, and so does this world: z and 2 z are the same face, for the
renderer as for a network that learned from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

RANGES: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "x": (-0.12, 0.12),
        "y": (-0.10, 0.10),
        "size": (0.86, 1.02),
        "yaw": (-0.42, 0.42),
        "roll": (-0.22, 0.22),
        "face_width": (0.47, 0.58),
        "jaw": (0.10, 0.38),
        "chin": (0.56, 0.70),
        "eye_spacing": (0.38, 0.48),
        "eye_height": (-0.08, 0.02),
        "eye_size": (0.22, 0.29),
        "eye_opening": (0.0, 1.0),
        "gaze_x": (-1.0, 1.0),
        "gaze_y": (-1.0, 1.0),
        "iris": (0.0, 1.0),
        "brow_height": (0.04, 0.13),
        "brow_tilt": (-0.05, 0.05),
        "brow_thickness": (0.014, 0.034),
        "nose_length": (0.18, 0.28),
        "nose_width": (0.05, 0.085),
        "mouth_height": (0.38, 0.50),
        "mouth_width": (0.28, 0.48),
        "smile": (-0.4, 1.0),
        "mouth_opening": (0.0, 1.0),
        "fringe": (-0.48, -0.32),
        "hair_length": (0.0, 1.0),
        "hair_hue": (0.0, 1.0),
        "hair_light": (0.0, 1.0),
        "ear_size": (0.06, 0.10),
        "skin": (0.0, 1.0),
        "light": (-1.0, 1.0),
        "background": (0.0, 1.0),
    }
)
"""Least and most of every number. Lengths are in halves of a picture, angles in radians, what is left has no unit."""
NAMES: Final = tuple(RANGES)
WIDTH: Final = len(RANGES)
MIRRORED: Final = tuple(NAMES.index(name) for name in ("x", "yaw", "roll", "gaze_x", "light"))
"""Numbers of a latent whose sign changes when a face is mirrored."""
TINY: Final = 1e-8


def normalised(z: Float[Tensor, "batch 32"]) -> Float[Tensor, "batch 32"]:
    """Give latents the mean square of 1 that a generator's mapping gives them."""
    return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + TINY)


def parameters(latents: Float[Tensor, "batch 32"]) -> Float[Tensor, "batch 32"]:
    """Give the numbers, in the order of ``NAMES``, of latents that are normalised already or were fitted.

    Each is its range times the share of a normal distribution that lies below the latent's number, so that faces of
    random latents fill the ranges evenly. Gradients flow.
    """
    bounds = latents.new_tensor(list(RANGES.values()))
    share = 0.5 * (1 + torch.erf(latents / math.sqrt(2)))
    return torch.lerp(bounds[:, 0], bounds[:, 1], share)


def mirrored(latents: Float[Tensor, "batch 32"]) -> Float[Tensor, "batch 32"]:
    """Give the latents of the same faces seen in a mirror."""
    signs = latents.new_ones(WIDTH)
    signs[list(MIRRORED)] = -1
    return latents * signs
