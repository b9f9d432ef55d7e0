"""MobileStyleGAN on a small random network: windows, gradients, pictures, previews, what a drag moves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from stylegan_nets import random_mobile
from trimtab.core.errors import RangeError
from trimtab.models.stylegan.face import SIZES as FACE
from trimtab.models.stylegan.generator import Features, Window
from trimtab.models.stylegan.haar import inverse_haar
from trimtab.models.stylegan.mobile import MobileSizes, MobileStyleGan, tensor_shapes
from trimtab.models.stylegan.preview import HeadFit, shrink

SMALL = MobileSizes(channels=(16, 16, 16, 12, 8, 8), width=6)  # up to 128 px


@pytest.fixture(scope="module")
def net() -> MobileStyleGan:
    return random_mobile(SMALL)


def styles(net: MobileStyleGan, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, net.styles, net.w_width, generator=torch.Generator().manual_seed(1))


def distance(a, b) -> float:
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def test_a_drag_of_the_face_moves_six_groups_of_styles():
    assert FACE.styles == 23
    assert FACE.groups[:6] == ((0,), (1, 2), (3,), (4, 5), (6,), (7, 8))


def test_every_style_is_in_one_group():
    assert sorted(index for group in FACE.groups for index in group) == list(range(23))


def test_the_face_has_1024_pixels_and_features_at_four_sizes():
    assert (FACE.resolution, tuple(FACE.feature_channels)) == (1024, (32, 64, 128, 256))


def test_the_inverse_transform_gives_back_what_was_taken_apart():
    image = torch.randn(2, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    a, b, c, d = (image[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1))
    average, rows, columns, across = a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d
    bands = torch.stack((rows, columns, across), dim=2).flatten(1, 2)
    assert distance(inverse_haar(torch.cat((average, bands), dim=1) / 4), image) < 1e-6


def test_a_window_of_a_low_map_is_cut_from_the_whole(net):
    w_plus = styles(net)
    windowed = net.features(w_plus, 32, window=Window(3, 4, 9, 30))
    assert torch.equal(windowed.whole, net.features(w_plus, 32).values)
    assert torch.equal(windowed.values, windowed.whole[:, :, 3:9, 4:30])


def test_pictures_are_within_minus_one_and_one(net):
    picture = net.image(5 * styles(net))
    assert picture.shape == (1, 3, 256, 256)
    assert (picture.min(), picture.max()) == (-1, 1)


@pytest.mark.parametrize("window", [None, Window(20, 24, 44, 50)], ids=["whole", "windowed"])
def test_gradients_to_w_plus_are_those_of_finite_differences(window):
    net = random_mobile(SMALL).double()
    w_plus = styles(net).double().requires_grad_()
    direction = torch.randn(w_plus.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    step = 1e-8

    def loss(w):
        return net.features(w, 64, window=window).values.sin().sum()

    (grad,) = torch.autograd.grad(loss(w_plus), w_plus)
    with torch.no_grad():
        slope = (loss(w_plus + step * direction) - loss(w_plus - step * direction)) / (2 * step)
    assert (grad * direction).sum().item() == pytest.approx(slope.item(), rel=1e-4)


def test_styles_above_the_features_have_no_gradient(net):
    w_plus = styles(net).requires_grad_()
    net.features(w_plus, 32).values.sum().backward()
    moved = w_plus.grad[0].abs().sum(dim=1) > 0
    assert moved.tolist() == [True] * 10 + [False] * 7


def test_truncation_draws_towards_the_mean(net):
    w = styles(net)[:, 0]
    assert distance(net.w_plus(w, truncation=0.25)[:, 3], net.w_mean + (w - net.w_mean) / 4) < 1e-6
    assert torch.equal(net.w_plus(w)[0], w.expand(net.styles, -1))


def test_features_are_taken_at_sizes_that_have_a_preview_only(net):
    with pytest.raises(RangeError, match="allowed are 32, 64, 128"):
        net.features(styles(net), 16)


def test_a_preview_is_twice_as_large_as_the_features(net):
    assert net.preview(net.features(styles(net), 64)).shape == (1, 3, 128, 128)


def test_a_preview_of_a_window_is_sharp_inside_it_and_coarse_outside(net):
    w_plus, window = styles(net), Window(8, 16, 24, 40)
    found = net.preview(net.features(w_plus, 64, window=window))
    sharp, coarse = net.preview(net.features(w_plus, 64)), net.preview(net.features(w_plus, 32))
    assert distance(found[:, :, 16:48, 32:80], sharp[:, :, 16:48, 32:80]) < 1e-5
    wide = F.interpolate(coarse, scale_factor=2, mode="bilinear")
    assert distance(found[:, :, 60:], wide[:, :, 60:]) < 1e-5


def test_a_preview_of_a_window_of_a_low_map_is_that_of_the_whole(net):
    w_plus = styles(net)
    assert torch.equal(
        net.preview(net.features(w_plus, 32, window=Window(0, 0, 4, 4))), net.preview(net.features(w_plus, 32))
    )


def test_a_preview_takes_no_part_in_gradients(net):
    features: Features = net.features(styles(net).requires_grad_(), 32)
    assert not net.preview(features).requires_grad


def test_a_preview_near_a_picture_shows_that_picture_better(net):
    w_plus = styles(net)
    image, features = net.image(w_plus), net.features(w_plus, 64)
    known = shrink(image, 128)
    better = net.preview_near(w_plus, image)(features)
    assert (better - known).square().mean() < (net.preview(features) - known).square().mean() / 2


def test_a_preview_near_a_picture_serves_windows_as_well(net):
    w_plus, window = styles(net), Window(8, 16, 24, 40)
    near = net.preview_near(w_plus, net.image(w_plus))
    found, whole = near(net.features(w_plus, 64, window=window)), near(net.features(w_plus, 64))
    assert distance(found[:, :, 16:48, 32:80], whole[:, :, 16:48, 32:80]) < 1e-5


def test_a_head_finds_a_linear_picture():
    source = torch.Generator().manual_seed(0)
    values, weight = torch.randn(4, 5, 8, 8, generator=source), torch.randn(12, 5, generator=source)
    image = F.pixel_shuffle(torch.einsum("oc,bchw->bohw", weight, values) + 0.5, 2)
    fit = HeadFit(5)
    for one in range(4):
        fit.add(values[one : one + 1], image[one : one + 1])
    found, bias = fit.solve()
    assert distance(found, weight) < 1e-3
    assert distance(bias, torch.full((12,), 0.5)) < 1e-3


def test_a_missing_tensor_is_named(net):
    state = {name: tensor for name, tensor in net.state_dict().items() if name != "blocks.b8.conv2.noise"}
    with pytest.raises(RangeError, match=r"'blocks\.b8\.conv2\.noise' is missing"):
        MobileStyleGan(SMALL, state)


@pytest.mark.parametrize("channels", [(8,), (8, 6), (0, 4), (4,) * 11])
def test_channels_that_make_no_network_are_refused(channels):
    with pytest.raises(RangeError, match="multiples of 4"):
        MobileSizes(channels, 8)


def test_shapes_are_those_of_the_network(net):
    assert tensor_shapes(SMALL) == {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
