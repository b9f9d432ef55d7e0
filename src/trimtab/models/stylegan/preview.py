"""Cheap pictures from features where a network keeps none: one linear head for each size, fitted once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.models.stylegan.generator import Features, Window

PIXELS: Final = 12  # red, green and blue of the 2 x 2 pixels under one feature
RIDGE: Final = 1e-4
TUNED_RIDGE: Final = 0.03  # 1e-3 to 1e-1 see moved faces alike; smaller ones see the first face alone


Head: TypeAlias = tuple[Tensor, Tensor]  # weight (12, channels) and bias (12,)
HeadOf: TypeAlias = Callable[[int], Head]


class Heads(nn.Module):
    """A linear map from features to the four pixels under each of them, for some sizes."""

    def __init__(self, channels: Mapping[int, int]) -> None:
        """Make heads without values.

        Args:
            channels: of the features, by their size.
        """
        super().__init__()
        for size, count in channels.items():
            self.register_buffer(f"weight{size}", torch.empty(PIXELS, count))
            self.register_buffer(f"bias{size}", torch.empty(PIXELS))

    def of(self, size: int) -> Head:
        """Give the head of a size."""
        return self.get_buffer(f"weight{size}"), self.get_buffer(f"bias{size}")


@torch.no_grad()
def look(features: Features, head_of: HeadOf) -> Float[Tensor, "batch 3 rows columns"]:
    """Give the whole picture, within -1 to 1; features of a window are seen through inside it alone."""
    if features.window is None:
        return see(features.values, head_of(features.size)).clamp_(-1, 1)
    inner, side = features.whole.shape[-1], 2 * features.size
    picture = see(features.whole, head_of(inner))
    if inner != features.size:
        picture = F.interpolate(picture, size=(side, side), mode="bilinear")
        _paste(picture, see(features.values, head_of(features.size)), features.window)
    return picture.clamp_(-1, 1)


@torch.no_grad()
def tuned(head: Head, values: Float[Tensor, "1 channels rows columns"], image: Float[Tensor, "1 3 high wide"]) -> Head:
    """Refit a head to one picture, drawn towards what it was: right where only what lies below the features changes.

    Args:
        head: fitted on many pictures.
        values: features of this one.
        image: what the network makes of them.
    """
    weight, bias = head
    missing = shrink(image, 2 * values.shape[-1]) - see(values, head)
    inputs, outputs = _rows(values), _rows(F.pixel_unshuffle(missing, 2))
    centre, shift = inputs.mean(dim=0), outputs.mean(dim=0)
    inputs = inputs - centre
    squares = inputs.T @ inputs
    squares.diagonal().add_(TUNED_RIDGE * squares.diagonal().mean() + torch.finfo(torch.float32).tiny)
    change = torch.linalg.solve(squares, inputs.T @ (outputs - shift)).T
    return weight + change, bias + shift - change @ centre


def see(values: Float[Tensor, "batch channels rows columns"], head: Head) -> Float[Tensor, "batch 3 high wide"]:
    """Give what a head sees in features, at twice their size and not clamped; gradients flow through."""
    weight, bias = head
    return F.pixel_shuffle(F.conv2d(values, weight[:, :, None, None], bias), 2)


def _paste(picture: Tensor, part: Tensor, window: Window) -> None:
    """Put the picture of a window over the coarser one, in its memory."""
    picture[:, :, 2 * window.top : 2 * window.bottom, 2 * window.left : 2 * window.right] = part


class HeadFit:
    """Least squares of pixels on features, gathered picture by picture; the normal equations are in float64."""

    def __init__(self, channels: int) -> None:
        """Start with nothing seen."""
        self._squares = torch.zeros(channels + 1, channels + 1, dtype=torch.float64)
        self._products = torch.zeros(channels + 1, PIXELS, dtype=torch.float64)

    def add(
        self, values: Float[Tensor, "batch channels rows columns"], image: Float[Tensor, "batch 3 high wide"]
    ) -> None:
        """Take pictures in; ``image`` is shrunk to twice the features' size."""
        inputs = _rows(values.double())
        inputs = torch.cat((inputs, torch.ones_like(inputs[:, :1])), dim=1)
        self._squares += inputs.T @ inputs
        self._products += inputs.T @ _rows(F.pixel_unshuffle(shrink(image, 2 * values.shape[-1]), 2).double())

    def solve(self) -> tuple[Float[Tensor, "12 channels"], Float[Tensor, "12"]]:
        """Give weight and bias of the head."""
        ridge = RIDGE * self._squares.diagonal().mean()
        solved = torch.linalg.solve(self._squares + ridge * torch.eye(len(self._squares)), self._products).float()
        return solved[:-1].T.contiguous(), solved[-1].contiguous()


def _rows(maps: Tensor) -> Tensor:
    """Give one row a pixel."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def shrink(image: Float[Tensor, "batch 3 high wide"], side: int) -> Float[Tensor, "batch 3 rows columns"]:
    """Average a picture down to ``side`` pixels, a divisor of its own."""
    return F.avg_pool2d(image, image.shape[-1] // side)


def psnr(a: Float[Tensor, "*shape"], b: Float[Tensor, "*shape"]) -> float:
    """Give the peak signal-to-noise ratio of pictures within -1 to 1, in dB."""
    return float(-10 * torch.log10((a - b).square().mean() / 4))
