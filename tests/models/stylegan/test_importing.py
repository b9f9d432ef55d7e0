"""Generators of other programs come in with the same bits, and say what they were made with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import generator_files as files
from trimtab.cli.main import run
from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.core.job import result_of
from trimtab.models.stylegan.importing import find_generator, import_generator
from trimtab.models.stylegan.load import load_generator
from trimtab.models.stylegan.stylegan2 import Sizes
from trimtab.store.cards import read_card
from trimtab.store.torch_archive import read_file

GOLDEN = Path(__file__).parents[2] / "data" / "stylegan2-golden"
NETS = ("net64", "net32-deep-mapping-noclamp")


def golden(name: str) -> tuple[dict[str, Tensor], Sizes]:
    facts = json.loads((GOLDEN / f"{name}.json").read_text())
    keys = ("res", "z_dim", "w_dim", "base", "cmax", "layers", "clamp")
    return load_file(GOLDEN / f"{name}.state.safetensors"), Sizes(*(facts[key] for key in keys))


def imported(folder: Path, content: bytes, name: str = "g.pkl") -> dict[str, Any]:
    (folder / name).write_bytes(content)
    return result_of(import_generator(folder / name, folder / "out"))


def refusal(folder: Path, content: bytes) -> str:
    (folder / "g.pkl").write_bytes(content)
    with pytest.raises(FormatError) as told:
        find_generator(folder / "g.pkl", read_file(folder / "g.pkl"))
    return str(told.value)


def same_tensors(folder: Path, state: dict[str, Tensor]) -> bool:
    found = load_file(folder / "generator.safetensors")
    return found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("net", NETS)
def test_an_official_file_gives_the_same_names_and_bits(tmp_path, net, protocol):
    state, sizes = golden(net)
    imported(tmp_path, files.official_pickle(state, sizes, protocol=protocol))
    assert same_tensors(tmp_path / "out", state)
    assert load_generator(tmp_path / "out").sizes == sizes


@pytest.mark.parametrize("net", NETS)
def test_a_file_of_tensorflow_gives_the_same_names_and_bits(tmp_path, net):
    state, _ = golden(net)
    imported(tmp_path, files.tensorflow_pickle(state))
    state = {name: tensor - 1 + 1 if name.endswith("affine.bias") else tensor for name, tensor in state.items()}
    assert same_tensors(tmp_path / "out", state)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older form"])
@pytest.mark.parametrize("net", NETS)
def test_a_file_of_rosinality_gives_the_same_names_and_bits(tmp_path, net, zipped):
    state, _ = golden(net)
    imported(tmp_path, files.saved(files.rosinality_tree(state), zipped=zipped), "g.pt")
    assert same_tensors(tmp_path / "out", state)


def test_a_generator_makes_the_picture_it_made_before(tmp_path):
    state, sizes = golden("net64")
    expected = load_file(GOLDEN / "net64.expected.safetensors")
    imported(tmp_path, files.official_pickle(state, sizes))
    picture = load_generator(tmp_path / "out").image(expected["w_plus"])
    assert torch.allclose(picture, expected["image.64"].clamp(-1, 1), atol=1e-5)


def test_a_file_of_rosinality_without_noise_makes_pictures_without_noise(tmp_path):
    state, _ = golden("net32-deep-mapping-noclamp")  # these files know no limit of activations
    tree = files.rosinality_tree(state)
    for name in [name for name in tree["g_ema"] if name.startswith("noises.")]:
        del tree["g_ema"][name]
    imported(tmp_path, files.saved(tree), "g.pt")
    expected = load_file(GOLDEN / "net32-deep-mapping-noclamp.expected.safetensors")
    picture = load_generator(tmp_path / "out").image(expected["w_plus"])
    assert torch.allclose(picture, expected["image_noise_none"].clamp(-1, 1), atol=1e-5)
    assert "no noise" in read_card(tmp_path / "out").note


def test_the_card_names_the_file_its_hash_and_what_the_network_was_made_with(tmp_path):
    content = files.official_pickle(files.small_state(), files.SMALL)
    result = imported(tmp_path, content)
    card = read_card(tmp_path / "out")
    assert card.sha256 == result["sha256"] == hashlib.sha256(content).hexdigest()
    assert (card.family, card.source, card.licence) == ("stylegan2", "g.pkl", "unknown")
    assert result["arguments"]["channel_base"] == 32
    assert '"num_fp16_res": 4' in card.note


def test_the_limit_of_activations_is_what_the_layers_keep_not_what_a_default_was(tmp_path):
    sizes = Sizes(8, z_width=4, w_width=4, channel_base=32, channel_max=4, mapping_layers=1, clamp=7.0)
    content = files.official_pickle(files.small_state(), sizes, synthesis_kwargs=files.EasyDict())
    imported(tmp_path, content)
    assert load_generator(tmp_path / "out").sizes.clamp == 7.0


UNSUPPORTED: list[dict[str, Any]] = [
    {"c_dim": 10},
    {"img_channels": 1},
    {"architecture": "resnet"},
    {"use_noise": False},
    {"resample_filter": [1, 2, 1]},
    {"magnitude_ema_beta": 0.5},
    {"activation": "relu"},
]


@pytest.mark.parametrize("arguments", UNSUPPORTED, ids=str)
def test_an_argument_that_is_not_supported_is_named(tmp_path, arguments):
    content = files.official_pickle(files.small_state(), files.SMALL, **arguments)
    assert f"not supported: {next(iter(arguments))!r}" in refusal(tmp_path, content)


def test_an_argument_that_the_tensors_deny_is_refused(tmp_path):
    content = files.official_pickle(files.small_state(), files.SMALL, img_resolution=16)
    assert "another img_resolution" in refusal(tmp_path, content)


def test_another_kind_of_network_is_refused_by_its_name(tmp_path):
    assert "'Critic'" in refusal(tmp_path, files.official_pickle(files.small_state(), files.SMALL, class_name="Critic"))


def test_a_stylegan3_is_refused_as_one(tmp_path):
    content = files.official_pickle({"synthesis.L0_36_512.weight": torch.zeros(2)}, files.SMALL)
    assert "StyleGAN3" in refusal(tmp_path, content)


def test_another_filter_of_rosinality_is_refused(tmp_path):
    tree = files.rosinality_tree(files.small_state())
    tree["g_ema"]["to_rgbs.0.upsample.kernel"] = torch.ones(4, 4)
    assert "[1, 3, 3, 1]" in refusal(tmp_path, files.saved(tree))


def test_a_file_of_torch_without_a_generator_is_refused(tmp_path):
    tree = files.rosinality_tree(files.small_state())
    del tree["g_ema"]
    assert "'g_ema'" in refusal(tmp_path, files.saved(tree))


def test_a_mean_style_that_is_missing_as_after_training_is_estimated(tmp_path):
    state, _ = golden("net32-deep-mapping-noclamp")
    tree = files.rosinality_tree(state)
    del tree["latent_avg"]
    imported(tmp_path, files.saved(tree), "g.pt")
    net = load_generator(tmp_path / "out")
    styles = net.map(torch.randn(20_000, net.z_width, generator=torch.Generator().manual_seed(5)))
    assert torch.allclose(net.w_mean, styles.mean(dim=0), atol=5 * float(styles.std(dim=0).max()) / 100)
    assert not torch.equal(net.w_mean, state["mapping.w_avg"])
    assert "estimated" in read_card(tmp_path / "out").note


def test_latents_so_wide_that_their_mean_would_take_all_memory_are_refused(tmp_path):
    tree = files.rosinality_tree(files.small_state())
    del tree["latent_avg"]
    tree["g_ema"]["style.1.weight"] = torch.ones(4, 5000)
    assert "z_width 5000: allowed is 1 to 4096" in refusal(tmp_path, files.saved(tree))


def test_styles_that_are_not_finite_are_refused(tmp_path):
    tree = files.rosinality_tree(files.small_state())
    del tree["latent_avg"]
    for layer in (1, 2):
        tree["g_ema"] |= {f"style.{layer}.weight": torch.full((4, 4), 3e38), f"style.{layer}.bias": torch.zeros(4)}
    assert "styles that are not finite" in refusal(tmp_path, files.saved(tree))


def test_every_tensor_of_rosinality_is_needed(tmp_path):
    tree = files.rosinality_tree(files.small_state())
    for name in list(tree["g_ema"]):
        if name.startswith("noises."):
            continue
        less = {**tree, "g_ema": {key: value for key, value in tree["g_ema"].items() if key != name}}
        told = refusal(tmp_path, files.saved(less))
        assert f"holds no {name!r}" in told or "has no place" in told  # the latter where the file seems to be smaller


def test_a_refused_file_leaves_no_folder(tmp_path):
    (tmp_path / "g.pkl").write_bytes(b"\x80\x02cos\nsystem\n.")
    with pytest.raises(FormatError):
        result_of(import_generator(tmp_path / "g.pkl", tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["g.pkl"]


def test_the_imported_folder_does_not_need_the_file(tmp_path):
    imported(tmp_path, files.official_pickle(files.small_state(), files.SMALL))
    (tmp_path / "g.pkl").unlink()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "generator.json",
        "generator.safetensors",
        "trimtab.json",
    ]
    load_generator(tmp_path / "out")


@pytest.mark.parametrize(("name", "error"), [("none.pkl", MissingError), ("g.txt", RangeError)])
def test_what_is_no_generators_file_is_refused(tmp_path, name, error):
    (tmp_path / "g.txt").write_text("x")
    with pytest.raises(error, match=r"\.gguf, \.pkl, \.pt, \.pth"):
        result_of(import_generator(tmp_path / name, tmp_path / "out"))


def test_the_command_imports_a_generator(tmp_path, capfd):
    (tmp_path / "g.pkl").write_bytes(files.official_pickle(files.small_state(), files.SMALL))
    assert run(["models", "import", str(tmp_path / "g.pkl"), "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["kind"] == "stylegan2"
    assert load_generator(tmp_path / "out").resolution == 8


def test_the_command_says_in_one_line_why_a_hostile_file_is_refused(tmp_path, capfd):
    (tmp_path / "g.pkl").write_bytes(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.")
    assert run(["models", "import", str(tmp_path / "g.pkl"), "--out", str(tmp_path / "out")]) == 1
    told = capfd.readouterr().err
    assert "asks for 'os.system'" in told
    assert len(told.splitlines()) == 1
