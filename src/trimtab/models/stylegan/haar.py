"""The inverse Haar transform, by which MobileStyleGAN doubles a map: a quarter of the channels, twice the size.

Source: arXiv:2104.04767, section 3.2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def inverse_haar(
    x: Float[Tensor, "batch four_channels rows columns"],
) -> Float[Tensor, "batch channels more_rows more_columns"]:
    """Turn four bands into a map of twice the size, times 2: the caller has halved ``x`` where that costs nothing.

    The first quarter of the channels are averages; of the others, three that follow each other are the differences
    between rows, between columns, and across, of one channel.
    """
    channels = x.shape[1] // 4
    average, bands = x[:, :channels], x[:, channels:].reshape(-1, channels, 3, *x.shape[2:])
    rows, columns, across = bands.unbind(2)
    upper, lower, plus, minus = average + rows, average - rows, columns + across, columns - across
    pixels = torch.stack((upper + plus, upper - plus, lower + minus, lower - minus), dim=2)
    return F.pixel_shuffle(pixels.flatten(1, 2), 2)
