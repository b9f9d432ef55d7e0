"""Trains the finder of faces that comes with the package, from generated faces in drawn scenes.

Faces are previews of the face generator; mediapipe's face mesh (in an environment of its own, `make .venv/.landmarks`)
tells where their eyes, nose and mouth are. They are laid, turned and scaled, on drawn backgrounds; half of the scenes
have no face, but shapes, clouds, stripes, pieces of faces and faces upside down. No photograph takes part.

    python bench/training/face_finder.py --out src/trimtab/drag/invert/face_finder.safetensors [--work FOLDER]

About 25 minutes of one core, most of it for the faces, which are kept in the work folder. The file that is shipped was
made by an earlier form of this script: 1,000 steps on scenes drawn anew for each, then 2,400 on a pool of 6,080.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from face_scenes import CANVAS_PX, Faces, Scenes, draw_scenes
from trimtab.drag.invert.finder_net import STRIDE, FaceFinder
from trimtab.drag.picture import write_png
from trimtab.models.stylegan.load import load_generator
from trimtab.store.resolve import resolve

SEED = 5
FEATURES_PX = 128
LEFT_EYE, RIGHT_EYE = (33, 133, 159, 145), (263, 362, 386, 374)  # as they lie in the picture
NOSE, MOUTH = 4, (61, 291)
BATCH = 32
LR = 3e-3
OFFSETS = 0.3
"""Weight of the points beside the question whether there is a face."""


@torch.no_grad()
def make_faces(count: int, work: Path) -> Faces:
    """Generate faces and find their points, unless the work folder has them."""
    if (work / "faces.safetensors").is_file():
        return Faces(**load_file(work / "faces.safetensors"))
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from _landmarks import Landmarks

    generator, source = load_generator(resolve("face")), torch.Generator().manual_seed(SEED)
    pictures, points = [], []
    with Landmarks() as landmarks:
        while len(pictures) < count:
            z = torch.randn(1, generator.z_width, generator=source)
            truncation = 0.5 + 0.5 * float(torch.rand((), generator=source))
            features = generator.features(generator.w_plus(generator.map(z), truncation=truncation), FEATURES_PX)
            preview = generator.preview(features)
            write_png(work / "face.png", preview)
            if (mesh := landmarks.find(work / "face.png")) is not None:
                pictures.append(((F.avg_pool2d(preview, 4)[0] + 1) * 127.5).round().to(torch.uint8))
                points.append(five_points(mesh) / preview.shape[-1])
    faces = {"pictures": torch.stack(pictures), "points": torch.stack(points).float()}
    save_file(faces, work / "faces.safetensors")
    return Faces(**faces)


def five_points(mesh: Tensor) -> Tensor:
    """Give the middles of the eyes, the nose tip and the corners of the mouth."""
    eyes = [mesh[list(eye)].mean(dim=0) for eye in (LEFT_EYE, RIGHT_EYE)]
    return torch.stack([*eyes, mesh[NOSE], *(mesh[corner] for corner in MOUTH)])


def loss_of(net: FaceFinder, scenes: Scenes) -> Tensor:
    """Judge the certainties (focal loss) and, at the centres of faces, the points."""
    logits, offsets = net(scenes.pictures)
    cells = (torch.arange(logits.shape[1]) + 0.5) * STRIDE
    centre, there = scenes.points.mean(dim=1), (scenes.there > 0)[:, None, None]
    across, down = cells - centre[:, 0, None, None], cells[:, None] - centre[:, 1, None, None]
    away = (across.square() + down.square()).sqrt()
    side = scenes.sides[:, None, None]
    inside = ((centre > 2) & (centre < CANVAS_PX - 2)).all(dim=1)[:, None, None]
    at = ((away <= 0.12 * side) | (away == away.amin((1, 2), keepdim=True))) & there & inside
    unclear = ((away < 0.28 * side) | ~inside) & there & ~at
    share = logits.sigmoid()
    wrong = torch.where(at, -4 * (1 - share) ** 2 * F.logsigmoid(logits), -(share**2) * F.logsigmoid(-logits))
    places = torch.stack([cells[None].expand_as(logits[0]), cells[:, None].expand_as(logits[0])])
    wanted = scenes.points[:, :, :, None, None] - places
    error = F.smooth_l1_loss(offsets, wanted.expand_as(offsets), reduction="none").mean(dim=(1, 2)) * 40 / side
    return wrong[~unclear].sum() / len(logits) + OFFSETS * (error * at).sum() / at.sum().clamp(min=1)


def draw_pool(faces: Faces, count: int, source: torch.Generator) -> Scenes:
    """Draw many scenes once: drawing costs more than learning from them."""
    drawn = [draw_scenes(faces, BATCH, source) for _ in range(count // BATCH)]
    return Scenes(*(torch.cat([getattr(s, name) for s in drawn]) for name in ("pictures", "points", "sides", "there")))


def varied(pool: Scenes, source: torch.Generator) -> Scenes:
    """Take a batch of the pool, some mirrored, with other light."""
    index = torch.randint(len(pool.pictures), (BATCH,), generator=source)
    pictures, points = pool.pictures[index], pool.points[index].clone()
    if torch.rand((), generator=source) < 0.5:
        pictures, points = pictures.flip(3), points[:, [1, 0, 2, 4, 3]]
        points[..., 0] = CANVAS_PX - points[..., 0]
    gain = 0.8 + 0.4 * torch.rand(BATCH, 1, 1, 1, generator=source)
    cast = 0.1 * torch.randn(BATCH, 3, 1, 1, generator=source)
    return Scenes((pictures * gain + cast).clamp(-1, 1), points, pool.sides[index], pool.there[index])


def train(faces: Faces, steps: int, scenes: int) -> FaceFinder:
    """Train a network."""
    source = torch.Generator().manual_seed(SEED)
    torch.manual_seed(SEED)
    net, pool = FaceFinder(), draw_pool(faces, scenes, source)
    optimizer = torch.optim.Adam(net.parameters(), lr=LR)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = LR * min(1, (step + 1) / 100) * (0.01 + 0.99 * (1 - step / steps))
        loss = loss_of(net, varied(pool, source))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        if step % 200 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    return net


def main() -> None:
    """Make faces, train, and write the network in float16."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--faces", type=int, default=1200)
    parser.add_argument("--scenes", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=4000)
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    net = train(make_faces(given.faces, work), given.steps, given.scenes)
    save_file({name: tensor.half().contiguous() for name, tensor in net.state_dict().items()}, given.out)


if __name__ == "__main__":
    main()
