"""The face generator against its published graph, run by OpenVINO."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import zipfile
from pathlib import Path

import pytest
import torch

from needs import need
from trimtab.core.job import result_of
from trimtab.models.adding import add_model
from trimtab.models.stylegan import face as face_module
from trimtab.models.stylegan.face import SIZES, read_face
from trimtab.models.stylegan.generator import Window, latent_of_seed
from trimtab.models.stylegan.load import load_generator
from trimtab.models.stylegan.mean import mean_style
from trimtab.models.stylegan.mobile import MobileStyleGan
from trimtab.models.stylegan.preview import psnr, shrink
from trimtab.store.cards import read_card
from trimtab.store.catalogue import CATALOGUE
from trimtab.store.openvino_ir import IrFile

EXACT = 1e-4


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
    """The wheel's files by their names."""
    spec = importlib.util.find_spec("random_face")
    need(spec is not None, "random-face", "Run: pip install --no-deps random-face==2021.7.21.1")
    assert spec is not None
    assert spec.origin is not None
    return {path.name: path for path in (Path(spec.origin).parent / "data").iterdir()}


@pytest.fixture(scope="module")
def face(files) -> MobileStyleGan:
    graphs = [IrFile(files[f"{name}.xml"], files[f"{name}.bin"]) for name in ("SynthesisNetwork", "MappingNetwork")]
    tensors = read_face(synthesis=graphs[0], mapping=graphs[1])
    net = MobileStyleGan(SIZES, tensors)
    tensors["mapping.w_mean"] = mean_style(net.map, net.z_width)
    return MobileStyleGan(SIZES, tensors)


@pytest.fixture(scope="module")
def graphs(files):
    """The wheel's graphs as functions, in float32."""
    need(importlib.util.find_spec("openvino") is not None, "openvino", "Run: pip install -e '.[compare]'")
    import openvino

    core = openvino.Core()

    def compiled(name: str):
        model = core.compile_model(str(files[f"{name}.xml"]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda x: torch.from_numpy(model([x.numpy()])[model.output(0)].copy())

    return compiled("MappingNetwork"), compiled("SynthesisNetwork")


def distance(a, b) -> float:
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def test_the_wheel_is_the_pinned_one(files):
    found = {f"random_face/data/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in files.values()}
    assert found == {file.member: file.sha256 for file in CATALOGUE["face"].files}


@pytest.mark.parametrize("seed", [0, 7, 2021])
def test_the_mapping_is_that_of_the_graph(face, graphs, seed):
    z = latent_of_seed(seed, face.z_width)
    assert distance(face.map(z), graphs[0](z)) < EXACT


@pytest.mark.parametrize("seed", [7, 2021])
def test_a_picture_is_that_of_the_graph(face, graphs, seed):
    w = face.map(latent_of_seed(seed, face.z_width))
    with torch.no_grad():
        assert distance(face.image(face.w_plus(w)), graphs[1](w).clamp(-1, 1)) < EXACT


@pytest.mark.parametrize("window", [Window(20, 30, 44, 54), Window(0, 40, 24, 64)], ids=["inside", "at a corner"])
def test_a_window_of_the_face_is_that_of_the_whole_map(face, window):
    w_plus = face.w_plus(face.map(latent_of_seed(7, face.z_width)))
    part, whole = face.features(w_plus, 64, window=window).values, face.features(w_plus, 64).values
    assert (
        distance(part, whole[:, :, window.top : window.bottom, window.left : window.right]) < 1e-6 * whole.abs().max()
    )


def test_the_added_face_is_complete_and_makes_the_same_picture(files, face, own_store, tmp_path, monkeypatch):
    monkeypatch.setattr(face_module, "FITTED_SEEDS", range(2))  # of 24: what is fitted on them is judged elsewhere
    monkeypatch.setattr(face_module, "UNSEEN_SEEDS", range(9, 10))
    with zipfile.ZipFile(tmp_path / "face.whl", "w") as wheel:
        for file in CATALOGUE["face"].files:
            wheel.write(files[Path(file.member).name], file.member)
    result = result_of(add_model("face", wheel=tmp_path / "face.whl"))
    card = read_card(Path(result["path"]))
    assert card is not None
    assert "do not pass the weights on" in card.note
    assert re.search(r"64 px \d+\.\d dB", card.note)
    added = load_generator(Path(result["path"]))
    w_plus = added.w_plus(added.map(latent_of_seed(7, 512)), truncation=0.7)
    with torch.no_grad():
        assert distance(added.image(w_plus), face.image(w_plus)) < 1e-6
        preview = added.preview(added.features(w_plus, 64))
        assert psnr(preview, shrink(face.image(w_plus), 128)) > 15


def test_the_mean_style_is_where_truncation_ends(face):
    w = face.map(latent_of_seed(7, face.z_width))
    assert distance(face.w_plus(w, truncation=0.0)[:, 0], face.w_mean[None]) == 0
    assert 0 < face.w_mean.abs().max() < face.map(torch.randn(64, 512)).abs().max() / 4
