"""The finder of faces on faces of the generator, in scenes that it was never shown."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from needs import need
from trimtab.core.errors import RangeError
from trimtab.drag.invert.align import Placement, find_face
from trimtab.drag.picture import to_image
from trimtab.models.stylegan.face import SIZES, read_face
from trimtab.models.stylegan.generator import latent_of_seed
from trimtab.models.stylegan.mobile import MobileStyleGan
from trimtab.store.openvino_ir import IrFile

SCENES = [(31, Placement(210, 190, 260, 0)), (33, Placement(420, 330, 220, 14)), (34, Placement(300, 240, 420, -18))]


@pytest.fixture(scope="module")
def net() -> MobileStyleGan:
    spec = importlib.util.find_spec("random_face")
    need(spec is not None, "random-face", "Run: pip install --no-deps random-face==2021.7.21.1")
    assert spec is not None
    assert spec.origin is not None
    data = Path(spec.origin).parent / "data"
    graphs = [IrFile(data / f"{name}.xml", data / f"{name}.bin") for name in ("SynthesisNetwork", "MappingNetwork")]
    return MobileStyleGan(SIZES, read_face(synthesis=graphs[0], mapping=graphs[1]))


def face_of(net: MobileStyleGan, seed: int) -> Image.Image:
    source = torch.Generator().manual_seed(0)
    mean = net.map(torch.randn(256, net.z_width, generator=source)).mean(dim=0)
    styles = net.w_plus(torch.lerp(mean, net.map(latent_of_seed(seed, net.z_width)), 0.7))
    return to_image(net.image(styles))


def scene(face: Image.Image, square: Placement) -> Image.Image:
    """Lay a turned face on a wall."""
    wall = Image.linear_gradient("L").resize((640, 480)).convert("RGB")
    small = face.resize((round(square.size),) * 2).convert("RGBA").rotate(-square.angle, expand=True, resample=3)
    wall.paste(small, (round(square.x - small.width / 2), round(square.y - small.height / 2)), small)
    return wall


@pytest.mark.parametrize(("seed", "square"), SCENES)
def test_a_face_is_found_where_it_was_laid(net, seed, square):
    found = find_face(scene(face_of(net, seed), square))
    assert math.hypot(found.x - square.x, found.y - square.y) < 0.08 * square.size
    assert found.size == pytest.approx(square.size, rel=0.2)
    assert found.angle == pytest.approx(square.angle, abs=9)


def test_a_face_upside_down_is_none(net):
    with pytest.raises(RangeError, match="no face found"):
        find_face(face_of(net, 31).rotate(180))
