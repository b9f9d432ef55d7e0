"""Random scenes for training a finder of faces: backgrounds of many kinds, with a generated face in some of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

CANVAS_PX = 96
FACE_PX = (34.0, 84.0)
"""Side of a face's square on the canvas."""
MOST_TURN = math.radians(40)


@dataclass(frozen=True)
class Faces:
    """Pictures of aligned faces and their points.

    Attributes:
        pictures: bytes, side a power of two.
        points: left eye, right eye, nose tip, corners of the mouth; 0 to 1 across the picture.
    """

    pictures: UInt8[Tensor, "count 3 side side"]
    points: Float[Tensor, "count 5 2"]


@dataclass(frozen=True)
class Scenes:
    """Pictures, the points of the face in each, the side of its square, and whether there is one."""

    pictures: Float[Tensor, "batch 3 96 96"]
    points: Float[Tensor, "batch 5 2"]
    sides: Float[Tensor, " batch"]
    there: Float[Tensor, " batch"]


def draw_scenes(faces: Faces, count: int, source: torch.Generator) -> Scenes:
    """Draw a batch: half of them with a face."""
    chosen = torch.randint(len(faces.pictures), (count,), generator=source)
    side = _between(*(math.log(s) for s in FACE_PX), count, source).exp()
    turn = torch.randn(count, generator=source).mul(0.25).clamp(-MOST_TURN, MOST_TURN)
    mirrored = torch.rand(count, generator=source) < 0.5
    centre = CANVAS_PX / 2 + (torch.rand(count, 2, generator=source) - 0.5) * (CANVAS_PX - 0.5 * side)[:, None]
    there = (torch.rand(count, generator=source) < 0.5).float()
    behind = _backgrounds(faces, count, source)
    pasted, cover = _placed(faces.pictures[chosen], side, turn, centre, mirrored)
    soft = cover * _vignette(side, turn, centre, source) * there[:, None, None, None]
    pictures = _developed(torch.lerp(behind, pasted, soft), source)
    points = _placed_points(faces.points[chosen], side, turn, centre, mirrored)
    return Scenes(pictures, points, side, there)


def _between(low: float, high: float, count: int, source: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=source)


def _grid(side: Tensor, turn: Tensor, centre: Tensor) -> Tensor:
    """Give, for each pixel of the canvas, where in a face's square it lies, from -1 to 1."""
    axis = torch.arange(CANVAS_PX) + 0.5
    across = axis[None, None, :] - centre[:, 0, None, None]
    down = axis[None, :, None] - centre[:, 1, None, None]
    cos, sin = turn.cos()[:, None, None], turn.sin()[:, None, None]
    half = side[:, None, None] / 2
    return torch.stack([(across * cos + down * sin) / half, (down * cos - across * sin) / half], dim=-1)


def _placed(pictures: Tensor, side: Tensor, turn: Tensor, centre: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """Turn, scale and move pictures onto canvases; give them and where they are."""
    grid = _grid(side, turn, centre)
    looked = grid * torch.where(mirrored, -1.0, 1.0)[:, None, None, None].mul(torch.tensor([1.0, 0.0])).add(
        torch.tensor([0.0, 1.0])
    )
    small = F.avg_pool2d(pictures.float() / 127.5 - 1, max(pictures.shape[-1] // 64, 1))
    placed = F.grid_sample(small, looked, mode="bilinear", padding_mode="reflection", align_corners=False)
    cover = (grid.abs().amax(dim=-1) < 1).float()[:, None]
    return placed, cover


def _placed_points(points: Tensor, side: Tensor, turn: Tensor, centre: Tensor, mirrored: Tensor) -> Tensor:
    swapped = points[:, [1, 0, 2, 4, 3]] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    own = (torch.where(mirrored[:, None, None], swapped, points) - 0.5) * side[:, None, None]
    cos, sin = turn.cos()[:, None], turn.sin()[:, None]
    turned = torch.stack([own[..., 0] * cos - own[..., 1] * sin, own[..., 0] * sin + own[..., 1] * cos], dim=-1)
    return turned + centre[:, None]


def _vignette(side: Tensor, turn: Tensor, centre: Tensor, source: torch.Generator) -> Tensor:
    """Give a cut-out of each face: an ellipse or the whole square, with a soft or a hard edge."""
    count = len(side)
    grid = _grid(side, turn, centre)
    reach = torch.stack([_between(0.5, 1.0, count, source), _between(0.7, 1.15, count, source)], dim=-1)
    distance = (grid / reach[:, None, None]).norm(dim=-1)
    hardness = _between(4, 30, count, source)[:, None, None]
    ellipse = torch.sigmoid((1 - distance) * hardness)
    square = torch.rand(count, generator=source) < 0.35
    # A square that covers the canvas, as in a portrait: what is around it is the face's own background, mirrored.
    return torch.where(square[:, None, None], torch.ones_like(ellipse), ellipse)[:, None]


def _developed(pictures: Tensor, source: torch.Generator) -> Tensor:
    """Change light, contrast, colour and sharpness as cameras do."""
    count = len(pictures)
    gain = _between(0.45, 1.4, count, source)[:, None, None, None]
    cast = 1 + 0.15 * torch.randn(count, 3, 1, 1, generator=source)
    shift = 0.25 * torch.randn(count, 1, 1, 1, generator=source)
    out = pictures * gain * cast + shift
    grey = (torch.rand(count, 1, 1, 1, generator=source) < 0.15).float()
    out = torch.lerp(out, out.mean(dim=1, keepdim=True).expand_as(out), grey)
    blurred = F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    out = torch.lerp(out, blurred, torch.rand(count, 1, 1, 1, generator=source))
    grain = torch.rand(count, 1, 1, 1, generator=source).square() * 0.15
    light = torch.linspace(-1, 1, CANVAS_PX)
    slope = 0.3 * torch.randn(count, 2, 1, 1, generator=source)
    out = out + slope[:, :1] * light + slope[:, 1:] * light[:, None]
    return (out + grain * torch.randn(out.shape, generator=source)).clamp(-1, 1)


def _backgrounds(faces: Faces, count: int, source: torch.Generator) -> Tensor:
    """Mix clouds, stripes, shapes and pieces of faces that are none."""
    kinds = torch.randint(6, (count,), generator=source)
    out = _clouds(count, source)
    makers = {1: _stripes, 2: _shapes, 3: _shapes, 4: None, 5: None}
    for kind, make in makers.items():
        index = (kinds == kind).nonzero()[:, 0]
        if len(index):
            out[index] = make(len(index), source) if make else _pieces(faces, len(index), source)
    mixed = torch.rand(count, 1, 1, 1, generator=source)
    return torch.lerp(out, out[torch.randperm(count, generator=source)], (mixed * 2 - 1).clamp(0, 0.6))


def _colours(count: int, source: torch.Generator) -> Tensor:
    """Draw colours: any, or that of skin."""
    skin = torch.tensor([0.5, 0.1, -0.1]) + 0.3 * torch.randn(count, 1, generator=source)
    any_ = torch.rand(count, 3, generator=source) * 2 - 1
    return torch.where(torch.rand(count, 1, generator=source) < 0.4, skin, any_).clamp(-1, 1)


def _clouds(count: int, source: torch.Generator) -> Tensor:
    out = _colours(count, source)[:, :, None, None].expand(-1, -1, CANVAS_PX, CANVAS_PX).clone()
    for cells in (2, 4, 8, 16, 32, 96):
        strength = 0.35 * torch.randn(count, 1, 1, 1, generator=source)
        channels = 1 if cells > 8 else 3
        noise = torch.randn(count, channels, cells, cells, generator=source)
        out = out + strength * F.interpolate(noise, size=CANVAS_PX, mode="bilinear")
    return out


def _stripes(count: int, source: torch.Generator) -> Tensor:
    axis = torch.arange(CANVAS_PX).float()
    angle, period = _between(0, math.pi, count, source), _between(3, 40, count, source)
    along = axis[None, None] * angle.cos()[:, None, None] + axis[None, :, None] * angle.sin()[:, None, None]
    across = axis[None, :, None] * angle.cos()[:, None, None] - axis[None, None] * angle.sin()[:, None, None]
    wave = (along / period[:, None, None] * math.tau).sin()
    crossed = (across / period[:, None, None] * math.tau * 0.7).sin()
    both = torch.where(torch.rand(count, 1, 1, generator=source) < 0.5, wave, wave * crossed)
    share = torch.sigmoid(both * _between(1, 20, count, source)[:, None, None])[:, None]
    a, b = (_colours(count, source)[:, :, None, None] for _ in range(2))
    return a * share + b * (1 - share) + 0.3 * (_clouds(count, source) - 0.2)


def _shapes(count: int, source: torch.Generator) -> Tensor:
    """Lay ellipses, boxes, bars and rings over each other; some of two dark spots and a bar, which make no face."""
    out = _clouds(count, source)
    axis = torch.arange(CANVAS_PX) + 0.5
    for _ in range(int(torch.randint(4, 14, (1,), generator=source))):
        centre = torch.rand(count, 2, generator=source) * CANVAS_PX
        size = 2 + 28 * torch.rand(count, 2, generator=source).square()
        turn = _between(0, math.pi, count, source)[:, None, None]
        x, y = axis[None, None] - centre[:, 0, None, None], axis[None, :, None] - centre[:, 1, None, None]
        u = (x * turn.cos() + y * turn.sin()) / size[:, 0, None, None]
        v = (y * turn.cos() - x * turn.sin()) / size[:, 1, None, None]
        round_ = (u * u + v * v).sqrt()
        box = torch.maximum(u.abs(), v.abs())
        distance = torch.where(torch.rand(count, 1, 1, generator=source) < 0.5, round_, box)
        ring = (distance - 0.75).abs() * 4
        distance = torch.where(torch.rand(count, 1, 1, generator=source) < 0.2, ring, distance)
        share = torch.sigmoid((1 - distance) * _between(3, 25, count, source)[:, None, None])[:, None]
        out = torch.lerp(out, _colours(count, source)[:, :, None, None].expand_as(out), share)
    return out + 0.1 * torch.randn(count, 1, 1, 1, generator=source) * torch.randn(out.shape, generator=source)


def _pieces(faces: Faces, count: int, source: torch.Generator) -> Tensor:
    """Take pieces of faces much too large to be found, or faces upside down."""
    chosen = torch.randint(len(faces.pictures), (count,), generator=source)
    upside_down = torch.rand(count, generator=source) < 0.25
    large = _between(200, 500, count, source)
    side = torch.where(upside_down, _between(40, 90, count, source), large)
    turn = torch.where(
        upside_down, math.pi + 0.3 * torch.randn(count, generator=source), _between(-3.14, 3.14, count, source)
    )
    away = torch.randn(count, 2, generator=source)
    far = away / away.norm(dim=1, keepdim=True) * (side * _between(0.12, 0.45, count, source))[:, None]
    centre = CANVAS_PX / 2 + torch.where(upside_down[:, None], away * 10, far)
    mirrored = torch.zeros(count, dtype=torch.bool)
    pasted, cover = _placed(faces.pictures[chosen], side, turn, centre, mirrored)
    return torch.lerp(_clouds(count, source), pasted, cover)  # what is mirrored beyond the edge would stand upright
