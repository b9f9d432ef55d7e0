"""What every kind of generator does alike: windows, parts of pictures, pictures from features, and staying frozen."""

from __future__ import annotations

import pytest
import torch

from stylegan_nets import random_mobile, random_net
from trimtab.core.errors import RangeError
from trimtab.models.stylegan.frozen import FrozenGenerator
from trimtab.models.stylegan.generator import Generator, Window
from trimtab.models.stylegan.mobile import MobileSizes
from trimtab.models.stylegan.stylegan2 import Sizes
from trimtab.nn.freeze import fingerprint

MAKERS = {
    "mobile": lambda: random_mobile(MobileSizes(channels=(16, 16, 16, 12, 8, 8), width=6)),  # up to 128 px
    "stylegan2": lambda: random_net(
        Sizes(128, z_width=8, w_width=12, channel_base=512, channel_max=8, mapping_layers=2, clamp=None)
    ),
}


@pytest.fixture(scope="module", params=MAKERS.values(), ids=MAKERS.keys())
def net(request) -> FrozenGenerator:
    """A random network whose two highest blocks can be windowed."""
    return request.param()


def styles(net: FrozenGenerator, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, net.styles, net.w_width, generator=torch.Generator().manual_seed(1))


def distance(a, b) -> float:
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def test_it_is_a_generator(net):
    assert isinstance(net, Generator)


WINDOWS = {
    "in the middle": Window(40, 51, 70, 72),
    "at a corner": Window(0, 0, 9, 20),
    "at the other corner": Window(101, 110, 128, 128),
    "a single pixel": Window(64, 63, 65, 64),
    "a whole row": Window(17, 0, 18, 128),
    "everything": Window(0, 0, 128, 128),
}


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_a_window_holds_what_the_whole_map_has_there(net, window):
    w_plus = styles(net, 2)
    map_, part = net.features(w_plus, 128).values, net.features(w_plus, 128, window=window).values
    assert distance(part, map_[:, :, window.top : window.bottom, window.left : window.right]) < 1e-6 * map_.abs().max()


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_a_part_of_a_picture_is_that_of_the_whole(net, window):
    w_plus = styles(net, 2)
    whole, part = net.image(w_plus), net.image_part(w_plus, window)
    assert whole.std() > 0.1
    assert distance(part, whole[:, :, window.top : window.bottom, window.left : window.right]) < 1e-5


def test_a_part_lies_within_the_picture(net):
    with pytest.raises(RangeError, match="within the map"):
        net.image_part(styles(net), Window(0, 0, 4, net.resolution + 1))


def test_a_part_has_the_gradient_of_the_whole(net):
    window, grads = Window(60, 4, 90, 30), []
    for part in (net.image_part, lambda w, window: net.image(w)[:, :, window.top : window.bottom, 4:30]):
        w_plus = styles(net).requires_grad_()
        grads.append(torch.autograd.grad(part(w_plus, window).sin().sum(), w_plus)[0])
    assert distance(*grads) < 1e-4 * grads[0].abs().max()


@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_picture_from_features_is_the_picture(net, size):
    w_plus = styles(net)
    assert torch.equal(net.image_from(net.features(w_plus, size), w_plus), net.image(w_plus))


def test_features_of_a_window_make_no_picture(net):
    with pytest.raises(RangeError, match="window"):
        net.image_from(net.features(styles(net), 128, window=Window(0, 0, 5, 5)), styles(net))


def test_nothing_requires_a_gradient_and_no_byte_changes(net):
    before = fingerprint(net)
    net.image(styles(net).requires_grad_()).sum().backward()
    assert not any(tensor.requires_grad for tensor in net.state_dict(keep_vars=True).values())
    assert not list(net.parameters())
    assert fingerprint(net) == before
