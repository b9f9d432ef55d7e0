"""The face generator: MobileStyleGAN of the published wheel, converted once from its graph's constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from trimtab.core.errors import FormatError
from trimtab.core.job import Job, Note, Progress, Result, Saved, Started
from trimtab.models.stylegan.generator import latent_of_seed
from trimtab.models.stylegan.load import write_generator
from trimtab.models.stylegan.mean import mean_style
from trimtab.models.stylegan.mobile import MobileSizes, MobileStyleGan, tensor_shapes
from trimtab.models.stylegan.mobile_layers import MAPPING_LAYERS
from trimtab.models.stylegan.preview import HeadFit, psnr, shrink
from trimtab.store.cards import Card, write_card
from trimtab.store.openvino_ir import IrFile
from trimtab.store.whole import whole_folder

SIZES: Final = MobileSizes(channels=(512, 512, 512, 512, 512, 256, 128, 64), width=512)
FITTED_SEEDS: Final = range(100_000, 100_024)
UNSEEN_SEEDS: Final = range(200_000, 200_006)
TRUNCATION: Final = 0.7  # of the faces that previews are fitted on: that of published drags


def convert_face(files: Sequence[Path], out: Path, card: Card) -> Job:
    """Convert the wheel's two graphs into a folder that ``load_generator`` reads.

    What the graphs lack is computed: the mean style, and the linear heads of the previews, fitted on random faces and
    judged on others.

    Args:
        files: bytes and description of the synthesis, then of the mapping, as in the catalogue.
        out: does not exist, or is empty.
        card: to which the quality of the previews is added.

    Raises:
        FormatError: a file is damaged or of another network.
        RangeError: ``out`` exists already.
    """
    yield Started(f"converting {card.name}", str(out))
    tensors = read_face(synthesis=IrFile(files[1], files[0]), mapping=IrFile(files[3], files[2]))
    net = MobileStyleGan(SIZES, tensors)
    tensors["mapping.w_mean"] = mean_style(net.map, net.z_width)
    net = MobileStyleGan(SIZES, tensors)
    fits = {size: HeadFit(channels) for size, channels in SIZES.feature_channels.items()}
    for done, seed in enumerate(FITTED_SEEDS, start=1):
        _gather(net, seed, fits)
        yield Progress("fitting previews", done, len(FITTED_SEEDS), "faces")
    for size, fit in fits.items():
        tensors[f"heads.weight{size}"], tensors[f"heads.bias{size}"] = fit.solve()
    quality = preview_quality(MobileStyleGan(SIZES, tensors))
    seen = ", ".join(f"{size} px {value:.1f} dB" for size, value in quality.items())
    note = f"Previews of features, PSNR on {len(UNSEEN_SEEDS)} unseen faces at truncation {TRUNCATION}: {seen}."
    with whole_folder(out) as folder:
        write_generator(folder, SIZES, tensors)
        write_card(folder, replace(card, note=f"{card.note} {note}".strip()))
    yield Note(note)
    yield Saved("generator", str(out))
    yield Result({"out": str(out), "tensors": len(tensors), "preview_db": {str(s): v for s, v in quality.items()}})


def read_face(*, synthesis: IrFile, mapping: IrFile) -> dict[str, Tensor]:
    """Give all tensors of the network by our names; mean style and heads, which the graphs lack, are zeros.

    Raises:
        FormatError: a constant is missing or of another shape.
    """
    tensors = _mapping_tensors(mapping) | _base_tensors(synthesis) | _block_tensors(synthesis) | _noises(synthesis)
    tensors["to_image.weight"] = synthesis.load("m.layers.6.to_img.conv.weight")
    tensors["to_image.bias"] = synthesis.load("m.layers.6.to_img.bias")
    tensors |= _style(synthesis, "to_image.style", "m.layers.6.to_img.conv.modulation")
    shapes = tensor_shapes(SIZES)
    for name, shape in shapes.items():
        if name == "mapping.w_mean" or name.startswith("heads."):
            tensors[name] = torch.zeros(shape)
        elif tensors[name].numel() != torch.Size(shape).numel():
            problem = f"the constant for {name} has the shape {list(tensors[name].shape)}, expected is {list(shape)}"
            raise FormatError(synthesis.path, problem)
        else:
            tensors[name] = tensors[name].reshape(shape)
    return tensors


def _mapping_tensors(graph: IrFile) -> dict[str, Tensor]:
    """Weights and biases have no names of their own; they stand in the order of the layers."""
    tensors: dict[str, Tensor] = {}
    for kind, shape in (("weight", (SIZES.width, SIZES.width)), ("bias", (SIZES.width,))):
        found = graph.of_shape(*shape)
        if len(found) != MAPPING_LAYERS:
            raise FormatError(graph.path, f"has {len(found)} constants of shape {list(shape)}; expected are 8")
        tensors |= {f"mapping.fc{index}.{kind}": graph.read(constant) for index, constant in enumerate(found)}
    return tensors


def _base_tensors(graph: IrFile) -> dict[str, Tensor]:
    return {
        "base.const": graph.load("m.input.input"),
        "base.weight": graph.load("Mul_39_copy"),
        "base.bias": graph.load("m.conv1.bias"),
        **_style(graph, "base.style", "m.conv1.conv.modulation"),
    }


def _block_tensors(graph: IrFile) -> dict[str, Tensor]:
    """The weights across channels have names that count nodes: 106 and 139 of each hundred."""
    tensors: dict[str, Tensor] = {}
    for index, size in enumerate(SIZES.block_sizes[1:]):
        own, theirs = f"blocks.b{size}", f"m.layers.{index}"
        tensors |= _style(graph, f"{own}.up", f"{theirs}.up.modulation")
        for conv, node in (("conv1", 100 * index + 106), ("conv2", 100 * index + 139)):
            tensors[f"{own}.{conv}.depthwise"] = graph.load(f"{theirs}.{conv}.conv.weight_dw")
            tensors[f"{own}.{conv}.pointwise"] = graph.load(f"Mul_{node}_copy")
            tensors[f"{own}.{conv}.bias"] = graph.load(f"{theirs}.{conv}.bias")
            tensors |= _style(graph, f"{own}.{conv}.style", f"{theirs}.{conv}.conv.modulation")
    return tensors


def _noises(graph: IrFile) -> dict[str, Tensor]:
    """Noise has no names: one map at the lowest size, two at each other, in the order of the layers."""
    tensors: dict[str, Tensor] = {}
    for size in SIZES.block_sizes:
        names = ["base.noise"] if size == SIZES.block_sizes[0] else [f"blocks.b{size}.conv{j}.noise" for j in (1, 2)]
        found = graph.of_shape(1, 1, size, size)
        if len(found) != len(names):
            raise FormatError(graph.path, f"has {len(found)} noise maps of {size} px; expected are {len(names)}")
        tensors |= {name: graph.read(constant) for name, constant in zip(names, found, strict=True)}
    return tensors


def _style(graph: IrFile, own: str, theirs: str) -> dict[str, Tensor]:
    return {f"{own}.{kind}": graph.load(f"{theirs}.{kind}") for kind in ("weight", "bias")}


@torch.no_grad()
def _gather(net: MobileStyleGan, seed: int, fits: Mapping[int, HeadFit]) -> None:
    w_plus = _random_style(net, seed)
    image = net.image(w_plus)
    for size, fit in fits.items():
        fit.add(net.features(w_plus, size).values, image)


@torch.no_grad()
def preview_quality(net: MobileStyleGan) -> dict[int, float]:
    """Give the mean PSNR of previews, in dB, by the size of the features, on faces that no head has seen."""
    found: dict[int, list[float]] = {size: [] for size in net.feature_sizes}
    for seed in UNSEEN_SEEDS:
        w_plus = _random_style(net, seed)
        image = net.image(w_plus)
        for size in net.feature_sizes:
            preview = net.preview(net.features(w_plus, size))
            found[size].append(psnr(preview, shrink(image, preview.shape[-1])))
    return {size: sum(values) / len(values) for size, values in found.items()}


def _random_style(net: MobileStyleGan, seed: int) -> Tensor:
    return net.w_plus(net.map(latent_of_seed(seed, net.z_width)), truncation=TRUNCATION)
