"""A very small network for faces: is one centred here, and where then are its eyes, its nose and its mouth corners."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.store.safetensors import TensorFile

WEIGHTS: Final = Path(__file__).with_name("face_finder.safetensors")
STRIDE: Final = 8
POINTS: Final = 5
"""Left eye, right eye, nose tip, left and right corner of the mouth, as they lie in the picture."""
UNIT_PX: Final = 32.0
"""What an offset of 1 is."""
WIDTHS: Final = (16, 32, 64)
DILATIONS: Final = (1, 2, 1, 2, 1)


class _Separable(nn.Module):
    """A 3 x 3 convolution of each channel, then one across channels."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.depth = nn.Conv2d(
            inputs, inputs, 3, stride=stride, padding=dilation, dilation=dilation, groups=inputs, bias=False
        )
        self.point = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.point(self.depth(x))  # type: ignore[no-any-return]


class FaceFinder(nn.Module):
    """Looks at every eighth pixel for faces whose square is 36 to 80 px."""

    def __init__(self) -> None:
        """Make the layers with random values."""
        super().__init__()
        one, two, three = WIDTHS
        self.first = nn.Conv2d(3, one, 3, stride=2, padding=1)
        self.second = _Separable(one, two, stride=2)
        self.third = _Separable(two, three, stride=2)
        self.body = nn.ModuleList(_Separable(three, three, dilation=dilation) for dilation in DILATIONS)
        self.head = nn.Conv2d(three, 1 + 2 * POINTS, 1)

    def forward(
        self, picture: Float[Tensor, "batch 3 rows columns"]
    ) -> tuple[Float[Tensor, "batch down across"], Float[Tensor, "batch 5 2 down across"]]:
        """Look at pictures whose sides are multiples of 8.

        Args:
            picture: red, green, blue within -1 to 1.

        Returns:
            How sure it is that a face is centred at each cell, as a logit, and where its points are: x and y in pixels
            of the picture from the cell's centre.
        """
        x = F.leaky_relu(self.first(picture), 0.1)
        x = F.leaky_relu(self.second(x), 0.1)
        x = F.leaky_relu(self.third(x), 0.1)
        for layer in self.body:
            x = x + F.leaky_relu(layer(x), 0.1)
        out = self.head(x)
        return out[:, 0], UNIT_PX * out[:, 1:].unflatten(1, (POINTS, 2))


@cache
def finder() -> FaceFinder:
    """Give the shipped network."""
    file, net = TensorFile(WEIGHTS), FaceFinder()
    net.load_state_dict({name: file.load(name).float() for name in file.shapes})
    return net.requires_grad_(False).eval()
