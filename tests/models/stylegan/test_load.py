"""Generators on disk: what is written is loaded again, and a damaged folder is refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from stylegan_nets import random_mobile_state, random_state
from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.models.stylegan.load import load_generator, write_generator
from trimtab.models.stylegan.mobile import MobileSizes, MobileStyleGan
from trimtab.models.stylegan.stylegan2 import Sizes, StyleGan2

STYLEGAN2 = Sizes(16, z_width=4, w_width=6, channel_base=64, channel_max=8, mapping_layers=2, clamp=None)
MOBILE = MobileSizes(channels=(8, 8, 8, 8), width=4)
NETS = {
    "stylegan2": (STYLEGAN2, StyleGan2, random_state(STYLEGAN2)),
    "mobile-stylegan": (MOBILE, MobileStyleGan, random_mobile_state(MOBILE)),
}


@pytest.fixture(params=NETS)
def kind(request):
    return request.param


@pytest.fixture
def folder(kind, tmp_path):
    sizes, _, state = NETS[kind]
    write_generator(tmp_path, sizes, state)
    return tmp_path


def test_a_written_generator_is_loaded_with_the_same_bytes(folder, kind):
    sizes, of, state = NETS[kind]
    net = load_generator(folder)
    assert isinstance(net, of)
    assert net.sizes == sizes
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def test_a_loaded_generator_makes_the_same_pictures(folder, kind):
    sizes, of, state = NETS[kind]
    w_plus = torch.ones(1, sizes.styles, 6 if kind == "stylegan2" else 4)
    assert torch.equal(load_generator(folder).image(w_plus), of(sizes, state).image(w_plus))


def test_tensors_of_another_network_are_not_written(kind, tmp_path):
    sizes, _, state = NETS[kind]
    with pytest.raises(RangeError, match="missing"):
        write_generator(tmp_path, sizes, dict(list(state.items())[1:]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["generator.json", "generator.safetensors"])
def test_a_folder_without_a_generator_says_how_to_get_one(folder, name):
    (folder / name).unlink()
    with pytest.raises(MissingError, match="trimtab models add face"):
        load_generator(folder)


CONFIGS = {
    "another kind": lambda c: c | {"kind": "stylegan3"},
    "no kind": lambda c: {k: v for k, v in c.items() if k != "kind"},
    "a key too many": lambda c: c | {"colour": 1},
    "a number as text": lambda c: c | {"resolution": "16", "width": "4"},
    "a truth value": lambda c: c | {"w_width": True, "width": True},
    "a size that cannot be": lambda c: c | {"resolution": 17, "channels": [3, 3]},
    "a huge size": lambda c: c | {"resolution": 1 << 40, "channels": [1 << 40] * 3},
    "nested": lambda c: c | {"channels": [[8]], "clamp": []},
    "nothing": lambda c: {},
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_damaged_description_is_refused(folder, case):
    path = folder / "generator.json"
    path.write_text(json.dumps(CONFIGS[case](json.loads(path.read_text()))))
    with pytest.raises(FormatError, match=r"generator\.json"):
        load_generator(folder)


def test_tensors_of_another_type_are_refused(folder):
    path = folder / "generator.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)
    with pytest.raises(FormatError, match=r"float16.*expected is torch\.float32"):
        load_generator(folder)


def test_a_truncated_file_of_tensors_is_refused(folder):
    path = folder / "generator.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FormatError, match=r"generator\.safetensors"):
        load_generator(folder)
