"""StyleGAN2 against what the official network computes from the same numbers, and its windows and gradients."""

from __future__ import annotations

import pytest
import torch

from stylegan_nets import NAMES, golden, random_net, random_state
from trimtab.core.errors import RangeError
from trimtab.models.stylegan.generator import Window, latent_of_seed
from trimtab.models.stylegan.stylegan2 import Sizes, StyleGan2, tensor_shapes

FORMS = ("weight", "activation")
EXACT = 1e-5


@pytest.fixture(scope="module", params=NAMES)
def known(request):
    return golden(request.param)


WIDE = Sizes(128, z_width=8, w_width=12, channel_base=512, channel_max=8, mapping_layers=2, clamp=None)


@pytest.fixture(scope="module")
def wide():
    """A random network whose two highest blocks can be windowed."""
    return random_net(WIDE)


def distance(a, b) -> float:
    assert a.shape == b.shape
    return (a - b).abs().max().item()


@pytest.mark.parametrize("form", FORMS)
def test_every_block_gives_the_official_features(known, form):
    net = known.net(form=form)
    found = {size: net.features(known.expected["w_plus"], size).values for size in net.feature_sizes}
    assert {s: distance(f, known.expected[f"features.{s}"]) for s, f in found.items()} == pytest.approx(
        dict.fromkeys(net.feature_sizes, 0.0), abs=EXACT
    )


@pytest.mark.parametrize("form", FORMS)
def test_every_block_gives_the_official_picture(known, form):
    net = known.net(form=form)
    found = {size: net.features(known.expected["w_plus"], size).skip for size in net.feature_sizes}
    assert {s: distance(f, known.expected[f"image.{s}"]) for s, f in found.items()} == pytest.approx(
        dict.fromkeys(net.feature_sizes, 0.0), abs=EXACT
    )


@pytest.mark.parametrize("form", FORMS)
def test_without_noise_the_picture_is_the_official_one(known, form):
    net = known.net(form=form, noisy=False)
    skip = net.features(known.expected["w_plus"], net.resolution).skip
    assert distance(skip, known.expected["image_noise_none"]) < EXACT


def test_mapping_and_truncation_are_the_official_ones(known):
    net = known.net()
    found = net.w_plus(net.map(known.expected["z"]), truncation=0.7)
    assert distance(found, known.expected["ws_truncation_0_7"]) < EXACT


def test_the_names_and_shapes_are_the_official_ones(known):
    assert tensor_shapes(known.sizes) == {name: tuple(tensor.shape) for name, tensor in known.state.items()}


@pytest.mark.parametrize(("resolution", "styles"), [(64, 10), (256, 14), (1024, 18)])
def test_a_network_has_two_styles_for_each_doubling(resolution, styles):
    assert Sizes(resolution).styles == styles


@pytest.mark.parametrize(("base", "size", "channels"), [(32768, 64, 512), (32768, 1024, 32), (16384, 64, 256)])
def test_channels_halve_where_the_base_runs_out(base, size, channels):
    assert Sizes(1024, channel_base=base).channels(size) == channels


def test_a_window_is_computed_from_its_surroundings_alone(wide):
    """A change of the noise far away from a window changes nothing in it."""
    far = random_state(WIDE)
    far["synthesis.b64.conv0.noise_const"][40:] += 1
    w_plus, window = torch.ones(1, wide.styles, wide.w_width), Window(0, 0, 40, 128)
    seen = [net.features(w_plus, 128, window=window).values for net in (wide, StyleGan2(WIDE, far))]
    assert torch.equal(*seen)


def test_features_of_a_window_hold_the_map_and_picture_of_the_last_whole_block(wide):
    w_plus = torch.ones(1, wide.styles, wide.w_width)
    windowed, below = wide.features(w_plus, 128, window=Window(3, 3, 9, 9)), wide.features(w_plus, 32)
    assert torch.equal(windowed.whole, below.values)
    assert torch.equal(wide.preview(windowed), below.skip.clamp(-1, 1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("window", [None, Window(20, 24, 44, 50)], ids=["whole", "windowed"])
def test_gradients_to_w_plus_are_those_of_finite_differences(form, window):
    sizes = Sizes(64, z_width=8, w_width=6, channel_base=256, channel_max=8, mapping_layers=2, clamp=3.0)
    net = random_net(sizes, form=form).double()
    source = torch.Generator().manual_seed(5)
    w_plus = torch.randn(1, net.styles, net.w_width, generator=source, dtype=torch.float64, requires_grad=True)
    direction, step = torch.randn(w_plus.shape, generator=source, dtype=torch.float64), 1e-7

    def loss(w):
        return net.features(w, 64, window=window).values.sin().sum()

    (grad,) = torch.autograd.grad(loss(w_plus), w_plus)
    with torch.no_grad():
        slope = (loss(w_plus + step * direction) - loss(w_plus - step * direction)) / (2 * step)
    assert (grad * direction).sum().item() == pytest.approx(slope.item(), rel=1e-4)


def test_both_forms_have_the_same_gradient():
    nets = [random_net(WIDE, form=form) for form in FORMS]
    w_plus = torch.randn(2, WIDE.styles, WIDE.w_width, generator=torch.Generator().manual_seed(1), requires_grad=True)
    grads = [torch.autograd.grad(net.features(w_plus, 64).values.square().sum(), w_plus)[0] for net in nets]
    assert distance(*grads) < 1e-4 * grads[0].abs().max()


def test_features_are_taken_at_block_sizes_only(wide):
    with pytest.raises(RangeError, match="allowed are 4, 8, 16, 32, 64, 128"):
        wide.features(torch.ones(1, wide.styles, wide.w_width), 256)


@pytest.mark.parametrize("window", [Window(5, 5, 5, 9), Window(-1, 0, 4, 4), Window(0, 0, 4, 129)])
def test_a_window_lies_within_the_map(wide, window):
    with pytest.raises(RangeError, match="within the map"):
        wide.features(torch.ones(1, wide.styles, wide.w_width), 128, window=window)


def test_a_missing_tensor_is_named():
    state = random_state(WIDE)
    del state["synthesis.b8.conv1.bias"]
    with pytest.raises(RangeError, match=r"b8\.conv1\.bias' is missing"):
        StyleGan2(WIDE, state)


def test_an_unknown_tensor_is_named():
    with pytest.raises(RangeError, match=r"mapping\.fc9"):
        StyleGan2(WIDE, random_state(WIDE) | {"mapping.fc9.bias": torch.ones(1)})


def test_a_tensor_of_another_shape_is_named():
    with pytest.raises(RangeError, match=r"w_avg' is torch.float32 \[3\]; expected is torch.float32 \[12\]"):
        StyleGan2(WIDE, random_state(WIDE) | {"mapping.w_avg": torch.ones(3)})


@pytest.mark.parametrize("resolution", [4, 48, 8192, -64])
def test_a_resolution_is_a_power_of_two(resolution):
    with pytest.raises(RangeError, match="powers of two"):
        Sizes(resolution)


@pytest.mark.parametrize("name", ["z_width", "w_width"])
def test_widths_are_thousands_at_most(name):
    assert Sizes(64, **{name: 4096})
    with pytest.raises(RangeError, match=f"{name} 4097: allowed is 1 to 4096"):
        Sizes(64, **{name: 4097})


def test_seeds_give_the_latents_that_published_code_draws():
    assert latent_of_seed(7, 4)[0].tolist() == pytest.approx([1.6905257, -0.46593737, 0.03282016, 0.40751628])


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_outside_the_published_range_is_refused(seed):
    with pytest.raises(RangeError, match="allowed is 0 to 4294967295"):
        latent_of_seed(seed, 4)
