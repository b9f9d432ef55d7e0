"""Reading a map as if it were enlarged, against really enlarging it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trimtab.drag.sampling import Lattice, MapPart

CASES = [(64, 16, False), (64, 16, True), (100, 32, False), (48, 48, True), (1024, 32, False), (96, 64, True)]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def enlarged(values: torch.Tensor, lattice: Lattice, points: torch.Tensor) -> torch.Tensor:
    """Enlarge the whole map, then read it at places: (points, channels)."""
    side = lattice.resolution
    whole = F.interpolate(values[None], size=(side, side), mode="bilinear", align_corners=lattice.align_corners)
    grid = (points / (side - 1) * 2 - 1).float()[None, None]
    return F.grid_sample(whole, grid, align_corners=True, padding_mode="border")[0, :, 0].T


def places(resolution: int) -> torch.Tensor:
    inside = torch.rand(60, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * (resolution - 1)
    last = resolution - 1.0
    edges = torch.tensor([[0, 0], [last, 0], [0.3, last], [last - 0.2, 0.7], [7, 3]], dtype=torch.float64)
    return torch.cat([inside, edges])


@pytest.mark.parametrize(("resolution", "size", "align"), CASES)
def test_a_value_between_pixels_is_that_of_the_enlarged_map(resolution, size, align):
    values, lattice = noise(5, size, size), Lattice(resolution, size, align)
    points = places(resolution)
    found = MapPart(values, lattice).at(points)
    torch.testing.assert_close(
        found, enlarged(values, lattice, points), atol=1e-4 if resolution > 500 else 1e-5, rtol=0
    )


@pytest.mark.parametrize("align", [False, True])
def test_a_patch_is_the_places_of_its_rows_and_columns(align):
    part = MapPart(noise(3, 16, 16), Lattice(64, 16, align))
    offsets = torch.arange(-4, 5, dtype=torch.float64)
    point = torch.tensor([[20.3, 41.7]], dtype=torch.float64)
    patch = part.sample(point[:, 1:] + offsets, point[:, :1] + offsets)
    one = part.at(point + torch.tensor([[offsets[7], offsets[2]]]))
    torch.testing.assert_close(patch[:, 2, 7], one)


def test_the_gradient_is_that_of_the_enlarged_map():
    values, lattice, points = noise(2, 8, 8), Lattice(32, 8), places(32)
    grads = []
    for read in (lambda v: MapPart(v, lattice).at(points), lambda v: enlarged(v, lattice, points)):
        leaf = values.clone().requires_grad_()
        grads.append(torch.autograd.grad(read(leaf).sin().sum(), leaf)[0])
    torch.testing.assert_close(*grads, atol=1e-4, rtol=1e-4)


def test_outside_the_picture_the_border_counts():
    part = MapPart(noise(3, 8, 8), Lattice(32, 8))
    beyond = torch.tensor([[-5.0, 40.0]], dtype=torch.float64)
    torch.testing.assert_close(part.at(beyond), part.at(torch.tensor([[0.0, 31.0]], dtype=torch.float64)))


def test_a_window_reads_like_the_whole_map():
    values, lattice = noise(3, 16, 16), Lattice(64, 16)
    points = torch.tensor([[30.2, 33.3], [36.0, 28.9]], dtype=torch.float64)
    part = MapPart(values[:, 5:12, 6:11], lattice, top=5, left=6)
    torch.testing.assert_close(part.at(points), MapPart(values, lattice).at(points))
