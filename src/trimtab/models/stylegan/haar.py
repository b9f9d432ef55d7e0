"""The inverse Haar transform, by which MobileStyleGAN doubles a map: a quarter of the channels, twice the size.

Source: arXiv:2104.04767, section 3.2.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def inverse_haar(
    x: Float[Tensor, "batch four_channels rows columns"],
) -> Float[Tensor, "batch channels more_rows more_columns"]:
    """Turn four bands into a map of twice the size, times 2: the caller has halved ``x`` where that costs nothing.

    The first quarter of the channels are averages; of the others, three that follow each other are the differences
    between rows, between columns, and across, of one channel.
    """
    batch, channels, height, width = x.shape[0], x.shape[1] // 4, *x.shape[2:]
    x = x.permute(0, 2, 3, 1)  # (batch, height, width, 4 channels): as it lies in memory, where channels are last
    average, bands = x[..., :channels], x[..., channels:].reshape(batch, height, width, channels, 3)
    rows, columns, across = bands.unbind(4)
    upper, lower, plus, minus = average + rows, average - rows, columns + across, columns - across
    pairs = [torch.stack(pair, dim=3) for pair in ((upper + plus, upper - plus), (lower + minus, lower - minus))]
    return torch.stack(pairs, dim=2).reshape(batch, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)
