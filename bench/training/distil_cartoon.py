"""Train the small face generator that comes with trimtab: a StyleGAN2 taught to draw what the face world draws.

It is trained by regression: the latent's face is rendered, and the network's picture is to be that picture. There is no
discriminator, so that it is a neural renderer with a generator's anatomy, and no GAN.

    python bench/training/distil_cartoon.py --out runs/cartoon            # about an hour of one core; may be repeated
    python bench/training/distil_cartoon.py --out runs/cartoon --export src/trimtab/assets/cartoon
    python bench/training/distil_cartoon.py --out runs/cartoon --sheet docs/images/face-world.png

Run again it goes on from its last checkpoint. First a pool of pictures is drawn into ``--out``; training sees each as
it is and mirrored.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from cartoon_net import CartoonNet
from trimtab.drag.face_world.landmarks import LANDMARKS, landmarks
from trimtab.drag.face_world.parameters import WIDTH, mirrored, normalised, parameters
from trimtab.drag.face_world.render import render
from trimtab.drag.picture import write_png
from trimtab.models.stylegan.config import STYLEGAN2, TENSORS_NAME
from trimtab.models.stylegan.load import load_generator, write_generator
from trimtab.models.stylegan.preview import psnr
from trimtab.models.stylegan.stylegan2 import Sizes
from trimtab.store.cards import Card, write_card
from trimtab.store.durable import hash_file
from trimtab.store.whole import whole_folder

SIZES = Sizes(64, z_width=WIDTH, w_width=64, channel_base=3072, channel_max=128, mapping_layers=3, clamp=None)
RESOLUTION = SIZES.resolution
POOL, POOL_SEED, AT_ONCE = 12_288, 1, 32
UNSEEN = range(10_000, 10_016)
FEATURES = range(17)  # landmarks of brows, eyes, nose and mouth, around which errors count more
FEATURE_WEIGHT, FEATURE_PX = 8.0, 2.5
HINTS = len(LANDMARKS) + 2
HINT_WEIGHT = {16: (6.0, 20.0), 32: (3.0, 40.0)}  # width of a landmark's spot, px of the picture; weight in the loss
BETAS, TINY = (0.9, 0.99), 1e-8
MOST_LR, LEAST_LR = 4e-3, 1e-4
GROWING = 0.5  # share of the steps that train the blocks up to half the resolution alone
AVERAGED = 0.999
SAVE_EVERY_S = 180


@dataclass
class State:
    """What a checkpoint holds."""

    step: int
    average: dict[str, Tensor]
    first: dict[str, Tensor]
    second: dict[str, Tensor]


def main(argv: list[str]) -> None:
    """Train, or write what was trained as a generator's folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--export", type=Path, help="write what was trained as a generator's folder, and end")
    parser.add_argument("--sheet", type=Path, help="draw faces and the network's below them into a PNG, and end")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    net = CartoonNet(SIZES, hints=HINTS, seed=0)
    state = load(given.out, net)
    if given.export or given.sheet:
        if given.export:
            export(net, state, given.export)
        if given.sheet:
            write_png(given.sheet, sheet(net, state))
        return
    latents, pool = drawn(given.out)
    train(net, state, latents, pool, given)


def drawn(out: Path) -> tuple[Tensor, np.ndarray]:
    """Give the pool: latents, and pictures with how much their pixels count, as bytes (N, 4, rows, columns)."""
    latents = normalised(torch.randn(POOL, WIDTH, generator=torch.Generator().manual_seed(POOL_SEED)))
    path, part = out / "pool.npy", out / "pool.part.npy"
    if not path.exists():
        shape = (POOL, 4, RESOLUTION, RESOLUTION)
        pictures = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        with torch.no_grad():
            for start in range(0, POOL, AT_ONCE):
                pictures[start : start + AT_ONCE] = example(latents[start : start + AT_ONCE]).numpy()
        pictures.flush()
        part.rename(path)
    return latents, np.load(path, mmap_mode="r")


def example(latents: Tensor) -> Tensor:
    """Draw faces, with the share of the highest weight that each pixel has."""
    values = parameters(latents)
    picture = (render(values, resolution=RESOLUTION) + 1) / 2
    points = landmarks(values, resolution=RESOLUTION)[:, list(FEATURES)]
    pixels = torch.arange(RESOLUTION, dtype=torch.float32)
    across = ((pixels - points[:, :, :1]) / FEATURE_PX).square()
    down = ((pixels - points[:, :, 1:]) / FEATURE_PX).square()
    near = torch.exp(-0.5 * (down[:, :, :, None] + across[:, :, None])).amax(dim=1, keepdim=True)
    return (torch.cat([picture, near], dim=1) * 255).round().to(torch.uint8)


def train(net: CartoonNet, state: State, latents: Tensor, pool: np.ndarray, given: argparse.Namespace) -> None:
    """Take the steps that are left; save now and then, and at the end."""
    begun, saved, first, losses = time.monotonic(), time.monotonic(), state.step, []
    while state.step < given.steps:
        grow = state.step < GROWING * given.steps
        source = torch.Generator().manual_seed(state.step)
        rows = torch.randint(POOL, (given.batch,), generator=source).sort().values
        seen = torch.from_numpy(pool[rows.numpy()]).float() / 255
        z, turned = latents[rows], torch.rand(given.batch, generator=source) < 0.5
        z = torch.where(turned[:, None], mirrored(z), z)
        seen = torch.where(turned[:, None, None, None], seen.flip(3), seen)
        w = net.map(z)
        with torch.autocast(
            "cpu", dtype=torch.bfloat16
        ):  # convolutions alone profit; pictures and weights keep 32 bits
            pictures, hints = net.pictures(w, upto=RESOLUTION // 2 if grow else RESOLUTION)
        loss = loss_of(pictures, seen[:, :3] * 2 - 1, 1 + FEATURE_WEIGHT * seen[:, 3:])
        loss = loss + hint_loss(hints, parameters(z))
        grads = torch.autograd.grad(loss, list(learning(net).values()), allow_unused=grow)
        update(net, state, grads, lr_at(state.step / given.steps))
        losses.append(float(loss.detach()))
        if state.step % 100 == 0:
            pace = (time.monotonic() - begun) / (state.step - first)
            print(f"{state.step} loss {np.mean(losses[-100:]):.4f} {1000 * pace:.0f} ms a step", flush=True)
        if time.monotonic() - saved > SAVE_EVERY_S or state.step == given.steps:
            save(given.out, net, state)
            saved = time.monotonic()
            print(f"{state.step} saved, {quality(net, state):.2f} dB on unseen faces", flush=True)


def loss_of(pictures: dict[int, Tensor], target: Tensor, weight: Tensor) -> Tensor:
    """Compare pictures of all sizes from 8 px, and the last one's edges, with what was drawn; L1, weighted."""
    total = torch.zeros(())
    last = max(pictures)
    for size, picture in pictures.items():
        if size < 8:
            continue
        times = target.shape[2] // size
        wanted, counts = F.avg_pool2d(target, times), F.avg_pool2d(weight, times)
        share = 1.0 if size == last else 0.3
        off = picture - wanted
        total = total + share * (counts * (off.abs() + off.square())).mean()  # squares pull where the median is skin
        if size == last:
            for dim in (2, 3):
                edges = picture.diff(dim=dim) - wanted.diff(dim=dim)
                total = total + 0.5 * (counts.narrow(dim, 1, size - 1) * edges.abs()).mean()
    coarse = F.avg_pool2d(pictures[last], 4) - F.avg_pool2d(target, 4 * target.shape[2] // last)
    return total + coarse.abs().mean()


def hint_loss(hints: dict[int, Tensor], values: Tensor) -> Tensor:
    """Ask features where the landmarks are, and where the head is.

    Without it brows, eyes and mouths stay away for long: as long as they are in the wrong place, skin is the better
    guess. The maps are smooth, so that there is a way to them from anywhere.
    """
    points = landmarks(values, resolution=RESOLUTION)  # (batch, points, 2)
    head = points.mean(dim=1, keepdim=True)
    total = torch.zeros(())
    for size, made in hints.items():
        width, weight = HINT_WEIGHT[size]
        places = (torch.arange(size) + 0.5) * (RESOLUTION / size) - 0.5
        across, down = (places - points[:, :, :1]) / width, (places - points[:, :, 1:]) / width
        spots = torch.exp(-0.5 * (down.square()[:, :, :, None] + across.square()[:, :, None]))
        slopes = [((places - head[:, :, axis : axis + 1]) / RESOLUTION).expand(-1, size, -1) for axis in range(2)]
        fields = torch.stack([slopes[0], slopes[1].transpose(1, 2)], dim=1)
        total = total + weight * (made - torch.cat([spots, fields], dim=1)).square().mean()
    return total


def lr_at(share: float) -> float:
    """Give the learning rate at a share of all steps."""
    warm = min(1.0, share / 0.01)
    return warm * (LEAST_LR + (MOST_LR - LEAST_LR) * 0.5 * (1 + math.cos(math.pi * share)))


@torch.no_grad()
def update(net: CartoonNet, state: State, grads: tuple[Tensor | None, ...], lr: float) -> None:
    """Take a step of Adam and move the average along."""
    state.step += 1
    keep = min(AVERAGED, (1 + state.step) / (10 + state.step))
    rise = [1 - beta**state.step for beta in BETAS]
    for (name, value), grad in zip(learning(net).items(), grads, strict=True):
        if grad is None:
            continue
        first, second = state.first[name], state.second[name]
        first.lerp_(grad, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
        value.addcdiv_(first, (second / rise[1]).sqrt_().add_(TINY), value=-lr / rise[0])
        state.average[name].lerp_(value, 1 - keep)


def learning(net: CartoonNet) -> dict[str, Tensor]:
    """Give everything that learns, by name."""
    return net.tensors | {f"hint.{name}": value for name, value in net.hints.items()}


def save(out: Path, net: CartoonNet, state: State) -> None:
    """Write a checkpoint in place of the last one."""
    groups = {"now": learning(net), "average": state.average, "first": state.first, "second": state.second}
    tensors = {f"{kind}/{name}": value.detach() for kind, group in groups.items() for name, value in group.items()}
    tensors["step"] = torch.tensor(state.step)
    save_file(tensors, out / "checkpoint.part")
    (out / "checkpoint.part").rename(out / "checkpoint.safetensors")


def load(out: Path, net: CartoonNet) -> State:
    """Take the last checkpoint up, or begin."""
    own = {name: value.detach() for name, value in learning(net).items()}
    if not (out / "checkpoint.safetensors").exists():
        zeros = [{name: torch.zeros_like(value) for name, value in own.items()} for _ in range(2)]
        return State(0, {name: value.clone() for name, value in own.items()}, *zeros)
    read = load_file(out / "checkpoint.safetensors")
    groups = {
        kind: {name: read[f"{kind}/{name}"].clone() for name in own} for kind in ("now", "average", "first", "second")
    }
    now = {name: value.requires_grad_() for name, value in groups.pop("now").items()}
    net.hints = {name.removeprefix("hint."): now.pop(name) for name in list(now) if name.startswith("hint.")}
    net.tensors = now
    return State(int(read["step"]), **groups)


@torch.no_grad()
def quality(net: CartoonNet, state: State) -> float:
    """Give the mean PSNR, in dB, of the averaged network's pictures of faces that it has not seen."""
    wanted, made = render(parameters(unseen()), resolution=RESOLUTION), made_by(net, state)
    return sum(psnr(a[None], b[None]) for a, b in zip(made, wanted, strict=True)) / len(made)


def made_by(net: CartoonNet, state: State) -> Tensor:
    """Give the averaged network's pictures of the faces that it has not seen."""
    own, net.tensors = net.tensors, state.average
    made = net.pictures(net.map(unseen()), upto=RESOLUTION)[0][RESOLUTION].clamp(-1, 1)
    net.tensors = own
    return made


@torch.no_grad()
def sheet(net: CartoonNet, state: State) -> Tensor:
    """Give two rows of unseen faces, each as drawn above and as the network makes it below, as one picture."""
    wanted, made = render(parameters(unseen()), resolution=RESOLUTION), made_by(net, state)
    half = len(made) // 2
    rows = [part[start : start + half] for start in (0, half) for part in (wanted, made)]
    return (
        torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)[None]
        .repeat_interleave(2, 2)
        .repeat_interleave(2, 3)
    )


def unseen() -> Tensor:
    """Give latents that are in no pool."""
    rows = [torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed)) for seed in UNSEEN]
    return normalised(torch.stack(rows))


def export(net: CartoonNet, state: State, out: Path) -> None:
    """Write the averaged network as a generator's folder, which must not exist yet, with its card."""
    decibels = quality(net, state)
    note = (
        "Drawn faces of 64 x 64, trained by regression to the renderer of trimtab.drag.face_world, without a "
        f"discriminator: no GAN. {state.step} steps; {decibels:.1f} dB on {len(UNSEEN)} unseen faces. No photograph "
        "and no other network had a part in it."
    )
    with whole_folder(out) as folder:
        write_generator(folder, SIZES, net.export({name: state.average[name] for name in net.tensors}))
        digest = hash_file(folder / TENSORS_NAME).sha256
        write_card(folder, Card("cartoon", STYLEGAN2, "bench/training/distil_cartoon.py", "Apache-2.0", digest, note))
    load_generator(out)
    print(f"{out}: {decibels:.2f} dB, SHA-256 {digest}")


if __name__ == "__main__":
    main(sys.argv[1:])
