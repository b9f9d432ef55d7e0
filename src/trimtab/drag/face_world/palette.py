"""Colours, red, green and blue in 0 to 1, as smooth functions of the numbers that choose them."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

SKIN: Final = ("#5b3a29", "#8a5a3c", "#b9805a", "#dfae87", "#f5d5bb")
IRIS: Final = ("#4a2b19", "#7b6231", "#4c8a58", "#3a78b8")
BACKGROUND: Final = ("#8fbfb4", "#cfd9a6", "#f0d9a8", "#e8aea0", "#b7a6d3")
SHIRT: Final = ("#35576b", "#4f6f4a", "#3e5c76", "#7a4450", "#4b4272")
DARK_HAIR: Final = ("#1f1a1d", "#5e2a1c")
LIGHT_HAIR: Final = ("#d9be8b", "#d97b3d")
LIP: Final = "#c2525b"
MOUTH: Final = "#5a1c24"
TEETH: Final = "#fbf6ee"
EYE_WHITE: Final = "#fbfaf5"
LASH: Final = "#2a1c1a"
BLUSH: Final = "#e8655c"
SHADOW: Final = "#dcc2b8"


def colour(code: str) -> tuple[float, float, float]:
    """Give red, green and blue of a code such as #8fbfb4."""
    red, green, blue = (int(code[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue


def along(share: Float[Tensor, "batch 1 1"], codes: tuple[str, ...]) -> Float[Tensor, "batch 3 1 1"]:
    """Give the colour at a share of the way through a row of colours."""
    knots = share.new_tensor([colour(code) for code in codes])
    place = share[:, :, 0] * (len(codes) - 1)  # (batch, 1)
    near = (1 - (place - torch.arange(len(codes), device=share.device)).abs()).clamp(min=0)
    mixed = (near[:, :, None] * knots).sum(dim=1)  # no product of matrices: the same bits alone and among others
    return mixed[:, :, None, None]


def hair(hue: Float[Tensor, "batch 1 1"], light: Float[Tensor, "batch 1 1"]) -> Float[Tensor, "batch 3 1 1"]:
    """Give the colour of hair: black to auburn where it is dark, blond to copper where it is light."""
    return torch.lerp(along(hue, DARK_HAIR), along(hue, LIGHT_HAIR), light[:, None])


def fixed(code: str, like: Tensor) -> Float[Tensor, "1 3 1 1"]:
    """Give a colour that all faces share."""
    return like.new_tensor(colour(code))[None, :, None, None]
