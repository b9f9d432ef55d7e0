"""Low-rank additions to a frozen generator: what they change, what they never touch, and their file."""

from __future__ import annotations

import pytest
import torch

from stylegan_nets import random_mobile, random_net
from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.models.stylegan.adapter import (
    MOST_BYTES,
    Adapter,
    Factors,
    adaptable,
    adapted,
    fresh_adapter,
    most_rank,
    read_adapter,
    save_adapter,
)
from trimtab.models.stylegan.frozen import FrozenGenerator
from trimtab.models.stylegan.generator import Generator
from trimtab.models.stylegan.mobile import MobileSizes
from trimtab.models.stylegan.stylegan2 import Sizes
from trimtab.nn.freeze import fingerprint

SMALL = Sizes(32, z_width=8, w_width=12, channel_base=256, channel_max=8, mapping_layers=2)
MAKERS = {
    "mobile": lambda: random_mobile(MobileSizes(channels=(16, 16, 12, 8), width=6)),
    "stylegan2": lambda: random_net(SMALL),
    "stylegan2, scaled weights": lambda: random_net(SMALL, form="weight"),
}


@pytest.fixture(scope="module", params=MAKERS.values(), ids=MAKERS.keys())
def net(request) -> FrozenGenerator:
    return request.param()


def styles(net: FrozenGenerator) -> torch.Tensor:
    return torch.randn(1, net.styles, net.w_width, generator=torch.Generator().manual_seed(1))


def some_adapter(net: FrozenGenerator, *, rank: int = 2, size: float = 0.5) -> Adapter:
    source = torch.Generator().manual_seed(2)
    fresh = fresh_adapter(net, rank=rank)
    return Adapter(
        {n: Factors(size * torch.randn(up.shape, generator=source), down) for n, (up, down) in fresh.factors.items()}
    )


def test_a_fresh_adapter_changes_nothing(net):
    w_plus = styles(net)
    assert torch.equal(adapted(net, fresh_adapter(net, rank=2)).image(w_plus), net.image(w_plus))


def test_an_adapter_changes_the_picture_in_proportion_to_its_strength(net):
    w_plus, adapter = styles(net), some_adapter(net)
    bare = net.image(w_plus)
    changes = [(adapted(net, adapter, s).image(w_plus) - bare).abs().mean().item() for s in (1e-3, 2e-3, 1.0)]
    assert changes[1] == pytest.approx(2 * changes[0], rel=0.05)
    assert changes[2] > 0.02


def test_strength_0_gives_the_bits_of_the_bare_generator(net):
    w_plus = styles(net)
    assert torch.equal(adapted(net, some_adapter(net), 0).image(w_plus), net.image(w_plus))


def test_no_byte_of_the_base_changes(net):
    before = fingerprint(net)
    view = adapted(net, some_adapter(net))
    view.image(styles(net))
    assert fingerprint(net) == before != fingerprint(view)


def test_only_the_changed_weights_are_own_memory(net):
    view = adapted(net, some_adapter(net))
    shared = {n for n, tensor in view.named_buffers() if tensor.data_ptr() == net.get_buffer(n).data_ptr()}
    own = {name for name, _ in net.named_buffers()} - shared
    prepared = {name for name in own if name.rpartition(".")[2] in ("energies", "noise", "shift")}  # of changed weights
    assert own - prepared == set(adaptable(net))


def test_an_adapted_generator_is_a_generator(net):
    assert isinstance(adapted(net, some_adapter(net)), Generator)


def test_the_weight_is_the_base_plus_the_product_scaled_to_its_size(net):
    adapter = some_adapter(net)
    view = adapted(net, adapter, 0.5)
    for name, weight in adaptable(net).items():
        up, down = adapter.factors[name]
        added = 0.5 * weight.square().mean().sqrt() * (up @ down)
        assert torch.allclose(view.get_buffer(name), weight + added.reshape(weight.shape), atol=1e-6)


def test_gradients_flow_to_the_adapter_and_not_to_the_base(net):
    adapter = some_adapter(net)
    learning = [part.requires_grad_() for pair in adapter.factors.values() for part in pair]
    grads = torch.autograd.grad(adapted(net, adapter).image(styles(net)).sin().sum(), learning)
    assert all(bool(grad.abs().max() > 0) for grad in grads)
    assert not any(tensor.requires_grad for tensor in net.buffers())


def test_gradients_to_the_adapter_are_those_of_finite_differences(net):
    net = MAKERS["stylegan2"]().double()
    adapter = Adapter({n: Factors(up.double(), down.double()) for n, (up, down) in some_adapter(net).factors.items()})
    name, pair = next(iter(adapter.factors.items()))
    up = pair.up.clone().requires_grad_()
    along = torch.randn(up.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def loss(value):
        changed = Adapter({**adapter.factors, name: Factors(value, pair.down)})
        return adapted(net, changed).features(styles(net).double(), 32).values.sin().sum()

    (grad,) = torch.autograd.grad(loss(up), up)
    with torch.no_grad():
        slope = (loss(up + 1e-7 * along) - loss(up - 1e-7 * along)) / 2e-7
    assert (grad * along).sum().item() == pytest.approx(slope.item(), rel=1e-4)


def test_a_file_gives_the_adapter_back_as_it_is_rounded(net, tmp_path):
    adapter = some_adapter(net)
    save_adapter(tmp_path / "a.safetensors", adapter)
    found, rounded = read_adapter(tmp_path / "a.safetensors", net), adapter.rounded()
    assert found.factors.keys() == rounded.factors.keys()
    for name, pair in rounded.factors.items():
        assert all(torch.equal(a, b) for a, b in zip(found.factors[name], pair, strict=True))


def test_a_file_has_two_bytes_a_number(net, tmp_path):
    adapter = some_adapter(net)
    save_adapter(tmp_path / "a", adapter)
    assert 0 < (tmp_path / "a").stat().st_size - adapter.stored_bytes < 8192


def test_a_rank_of_more_than_3_megabytes_is_refused():
    net = random_net(Sizes(64, z_width=8, w_width=8, channel_base=1 << 15, mapping_layers=1))
    most = most_rank(net)
    assert fresh_adapter(net, rank=most).stored_bytes <= MOST_BYTES
    with pytest.raises(RangeError, match=rf"{MOST_BYTES:,} are the most"):
        fresh_adapter(net, rank=most + 1)


def test_the_most_rank_of_a_small_generator_is_that_of_its_largest_weight(net):
    sides = [min(weight.shape[0], weight[0].numel()) for weight in adaptable(net).values()]
    assert most_rank(net) == max(sides)


@pytest.mark.parametrize("rank", [0, -1])
def test_a_rank_is_at_least_1(net, rank):
    with pytest.raises(RangeError, match="allowed is at least 1"):
        fresh_adapter(net, rank=rank)


@pytest.mark.parametrize("strength", [-0.1, 4.1, float("nan")])
def test_a_strength_that_is_not_allowed_is_refused(net, strength):
    with pytest.raises(RangeError, match="allowed is 0 to 4"):
        adapted(net, some_adapter(net), strength)


@pytest.fixture
def other() -> FrozenGenerator:
    return random_net(Sizes(16, z_width=8, w_width=12, channel_base=64, channel_max=4, mapping_layers=2))


def test_an_adapter_of_another_generator_is_refused(net, other):
    with pytest.raises(RangeError, match="fits no weight"):
        adapted(net, some_adapter(other))


def test_a_file_of_another_generator_is_refused(net, other, tmp_path):
    save_adapter(tmp_path / "a", some_adapter(other))
    with pytest.raises(RangeError, match=r"another generator|fits no weight"):
        read_adapter(tmp_path / "a", net)


def test_a_file_that_is_not_there_is_missing(net, tmp_path):
    with pytest.raises(MissingError, match="no adapter"):
        read_adapter(tmp_path / "a", net)


def test_a_file_cut_short_is_refused(net, tmp_path):
    save_adapter(tmp_path / "a", some_adapter(net))
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-10])
    with pytest.raises(FormatError):
        read_adapter(tmp_path / "a", net)


def test_a_file_with_what_is_no_number_is_refused(net, tmp_path):
    adapter = some_adapter(net)
    next(iter(adapter.factors.values())).up[0, 0] = float("inf")
    save_adapter(tmp_path / "a", adapter)
    with pytest.raises(FormatError, match="no number"):
        read_adapter(tmp_path / "a", net)
