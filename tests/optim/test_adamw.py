"""Paged AdamW in anybody's loop."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optim.fake_tier import FakeTier
from trimtab.core.errors import CheckpointError, RangeError, ResourceError, UsageError
from trimtab.optim import PagedAdamW, PageOptions

BUDGETS = [4096, 30_000]


def _net(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 180), nn.Tanh(), nn.Linear(180, 24), nn.Linear(24, 3)).to(dtype)


def _train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 4, *, first: int = 0) -> list[Tensor]:
    dtype = next(net.parameters()).dtype
    for step in range(first, first + steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        net(torch.randn(8, 24, dtype=dtype)).square().mean().backward()
        optimizer.step()
    return [param.detach().clone() for param in net.parameters()]


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def _paged(net: nn.Module, bits: int = 32, **more: Any) -> PagedAdamW:
    return PagedAdamW(net.parameters(), lr=0.01, weight_decay=0.1, bits=bits, **more)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("bits", [32, 8])
def test_paged_and_unpaged_give_the_same_bits(tmp_path: Path, bits: int, budget: int, dtype: torch.dtype) -> None:
    roomy, tight = _net(dtype), _net(dtype)
    paging = _paged(tight, bits, budget_bytes=budget, page_folder=tmp_path)
    assert _same(_train(roomy, _paged(roomy, bits)), _train(tight, paging))
    assert paging.page_exchanges > 0 or budget > 4096
    assert paging.resident_bytes <= budget


@pytest.mark.parametrize("bits", [32, 8])
def test_a_budget_that_fits_costs_no_exchange(bits: int) -> None:
    net = _net()
    optimizer = _paged(net, bits, budget_bytes=10**6)
    _train(net, optimizer)
    assert optimizer.page_exchanges == 0


@pytest.mark.parametrize("bits", [32, 8])
def test_a_device_that_runs_out_of_memory_pages_and_gives_the_same_bits(bits: int) -> None:
    roomy, tight = _net(), _net()
    options = PageOptions(page_bytes=4096, tier=lambda device: FakeTier(3 * 4096))
    paging = _paged(tight, bits, options=options)
    assert _same(_train(roomy, _paged(roomy, bits)), _train(tight, paging))
    assert paging.page_exchanges > 0


@pytest.mark.parametrize("bits", [32, 8])
@pytest.mark.parametrize("budget", [None, 20_000])
@pytest.mark.parametrize("form", ["state_dict", "tensors"])
def test_a_resumed_run_reaches_the_same_bits(tmp_path: Path, form: str, budget: int | None, bits: int) -> None:
    whole, first = _net(), _net()
    expected = _train(whole, _paged(whole, bits), 4)
    before = _paged(first, bits, budget_bytes=budget, page_folder=tmp_path)
    _train(first, before, 2)
    second = copy.deepcopy(first)
    after = _paged(second, bits)
    if form == "tensors":
        after.load_tensors(before.tensors())
    else:
        after.load_state_dict(before.state_dict())
    assert _same(expected, _train(second, after, 2, first=2))


def test_state_goes_to_torchs_own_adamw_and_comes_from_it() -> None:
    whole, net = _net(), _net()
    theirs = torch.optim.AdamW(whole.parameters(), lr=0.01, weight_decay=0.1)
    _train(whole, theirs, 3)
    net.load_state_dict(whole.state_dict())
    ours = _paged(net)
    ours.load_state_dict(theirs.state_dict())
    _train(net, ours, 2, first=3)
    back = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    back.load_state_dict({**theirs.state_dict(), "state": ours.state_dict()["state"]})
    found, expected = _train(net, back, 2, first=5), _train(whole, theirs, 4, first=3)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))


def test_state_made_with_amsgrad_is_refused() -> None:
    net = _net()
    theirs = torch.optim.AdamW(net.parameters(), amsgrad=True)
    _train(net, theirs, 1)
    with pytest.raises(CheckpointError, match="amsgrad"):
        _paged(net).load_state_dict(theirs.state_dict())


def test_tensors_carry_the_given_names() -> None:
    net = _net()
    optimizer = PagedAdamW(net.named_parameters(), bits=8)
    _train(net, optimizer, 1)
    names = optimizer.tensors()
    assert {
        "0.weight.step",
        "0.weight.state1",
        "0.weight.absmax2",
        "0.bias.exp_avg",
        "3.bias.exp_avg_sq",
    } <= names.keys()


def test_8_bit_state_has_the_layout_of_bitsandbytes() -> None:
    net = _net()
    optimizer = _paged(net, bits=8)
    _train(net, optimizer, 1)
    state = optimizer.state_dict()["state"][0]
    assert (state["state1"].shape, state["state1"].dtype) == ((180, 24), torch.uint8)
    assert (state["absmax1"].shape, state["absmax1"].dtype) == ((-(-180 * 24 // 256),), torch.float32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop("0.step"), r"lacks 0\.step"),
        (lambda tensors: tensors.pop("2.exp_avg"), "parameter 2"),
        (lambda tensors: tensors.update({"9.exp_avg": torch.zeros(1)}), r"9\.exp_avg"),
        (lambda tensors: tensors.update({"0.exp_avg": torch.zeros(3)}), "parameter 0"),
        (lambda tensors: tensors.update({"0.extra": torch.zeros(3)}), "extra"),
    ],
    ids=["no step", "no average", "unknown parameter", "wrong shape", "left over"],
)
def test_state_that_is_not_whole_is_refused(change: Any, words: str) -> None:
    net = _net()
    optimizer = _paged(net)
    _train(net, optimizer, 1)
    tensors = optimizer.tensors()
    change(tensors)
    with pytest.raises(CheckpointError, match=words):
        _paged(net).load_tensors(tensors)


def test_state_of_other_bits_is_refused() -> None:
    net = _net()
    optimizer = _paged(net, bits=8)
    _train(net, optimizer, 1)
    with pytest.raises(CheckpointError, match="bits=32"):
        _paged(net).load_tensors(optimizer.tensors())


def test_a_parameter_without_gradient_stays_and_counts_no_step() -> None:
    used, idle = nn.Parameter(torch.ones(10)), nn.Parameter(torch.ones(10))
    optimizer = PagedAdamW([used, idle], weight_decay=0.5)
    used.grad = torch.ones(10)
    optimizer.step()
    assert torch.equal(idle, torch.ones(10))
    assert [int(optimizer.tensors()[f"{i}.step"]) for i in (0, 1)] == [1, 0]


def test_parameters_that_join_later_have_their_own_step_count() -> None:
    late, reference = nn.Parameter(torch.ones(10)), nn.Parameter(torch.ones(10))
    always = nn.Parameter(torch.ones(10))
    both = PagedAdamW([always, late])
    for step in range(3):
        always.grad, late.grad = torch.ones(10), torch.full((10,), 0.3) if step == 2 else None
        both.step()
    alone = PagedAdamW([reference])
    reference.grad = torch.full((10,), 0.3)
    alone.step()
    assert torch.equal(late, reference)


def test_groups_keep_their_own_settings() -> None:
    slow, fast = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
    optimizer = PagedAdamW([{"params": [slow], "lr": 0.001}, {"params": [fast], "lr": 0.1}])
    slow.grad, fast.grad = torch.ones(4), torch.ones(4)
    optimizer.step()
    assert torch.allclose(fast, 100 * slow)


def test_a_group_added_later_leaves_the_learned_state() -> None:
    net, twin = _net(), _net()
    optimizer, plain = _paged(net), _paged(twin)
    _train(net, optimizer, 2)
    extra = nn.Parameter(torch.ones(5))
    optimizer.add_param_group({"params": [extra]})
    expected = _train(twin, plain, 4)
    assert _same(expected, _train(net, optimizer, 2, first=2))


def test_a_refused_group_leaves_the_learned_state_and_the_groups() -> None:
    net = _net()
    optimizer = _paged(net)
    _train(net, optimizer, 2)
    before = optimizer.tensors()
    with pytest.raises(RangeError, match="float64"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(5, dtype=torch.float64))]})
    assert len(optimizer.param_groups) == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in optimizer.tensors().items())


def test_state_that_cannot_be_put_back_beside_a_new_group_must_be_loaded() -> None:
    net, tier = _net(), FakeTier(10**6)
    optimizer = _paged(net, budget_bytes=20_000, options=PageOptions(tier=lambda device: tier))
    _train(net, optimizer, 1)
    tier.failing = (tier.copies_out + 3,)
    with pytest.raises(ResourceError, match="cannot be stored"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(5))]})
    with pytest.raises(ResourceError, match="half-way"):
        optimizer.step()


def test_learning_rate_schedulers_of_torch_apply() -> None:
    param = nn.Parameter(torch.zeros(1))
    optimizer = PagedAdamW([param], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    for expected in (-1.0, -1.5, -1.75):
        param.grad = torch.ones(1)
        optimizer.step()
        scheduler.step()
        assert param.item() == pytest.approx(expected, rel=1e-4)


def test_the_closure_is_called_with_gradients_on() -> None:
    param = nn.Parameter(torch.ones(1))
    optimizer = PagedAdamW([param])

    def closure() -> Tensor:
        loss = param.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 1.0
    assert param.item() < 1


def test_transposed_parameters_and_gradients_are_stepped_as_plain_ones() -> None:
    plain = nn.Parameter(torch.arange(12.0).view(3, 4))
    turned = nn.Parameter(plain.detach().t().contiguous().t())
    grad = torch.randn(3, 4)
    plain.grad, turned.grad = grad, grad.t().contiguous().t()
    PagedAdamW([plain]).step()
    PagedAdamW([turned]).step()
    assert torch.equal(plain, turned)


def test_a_parameter_longer_than_many_pages_is_stepped_whole() -> None:
    long, same = nn.Parameter(torch.ones(20_001)), nn.Parameter(torch.ones(20_001))
    for param, options in ((long, PageOptions(page_bytes=2048)), (same, PageOptions())):
        param.grad = torch.linspace(-1, 1, 20_001)
        PagedAdamW([param], options=options).step()
    assert torch.equal(long, same)


def test_a_full_disk_shows_before_anything_is_stepped(tmp_path: Path) -> None:
    class Full(FakeTier):
        def reserve(self, sizes_bytes: list[int]) -> None:
            raise ResourceError("no space left")

    net = _net()
    before = [param.detach().clone() for param in net.parameters()]
    optimizer = _paged(net, budget_bytes=20_000, options=PageOptions(tier=lambda device: Full(10**6)))
    with pytest.raises(ResourceError, match="no space left"):
        _train(net, optimizer, 1)
    assert _same(before, list(net.parameters()))


def test_after_a_step_that_broke_off_nothing_is_saved_until_a_checkpoint_is_loaded() -> None:
    net = _net()
    tier = FakeTier(10**6)
    optimizer = _paged(net, budget_bytes=20_000, options=PageOptions(tier=lambda device: tier))
    _train(net, optimizer, 1)
    good = optimizer.tensors()
    tier.failing = (tier.copies_out + 3,)
    with pytest.raises(ResourceError, match="cannot be stored"):
        _train(net, optimizer, 5, first=1)
    for use in (optimizer.tensors, optimizer.state_dict, optimizer.step):
        with pytest.raises(ResourceError, match="half-way"):
            use()
    optimizer.load_tensors(good)
    assert all(torch.equal(tensor, good[name]) for name, tensor in optimizer.tensors().items())


def test_it_refuses_to_be_copied_without_its_pages() -> None:
    with pytest.raises(UsageError, match="cannot be copied"):
        copy.deepcopy(_paged(_net()))


@pytest.mark.parametrize(
    "setting",
    [{"lr": -1.0}, {"betas": (0.9, 1.0)}, {"eps": -1e-8}, {"weight_decay": -1.0}, {"bits": 16}, {"budget_bytes": 100}],
    ids=lambda setting: next(iter(setting)),
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(RangeError, match=next(iter(setting))):
        PagedAdamW([nn.Parameter(torch.ones(2))], **setting)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64])
def test_parameters_of_other_types_are_refused_by_name(dtype: torch.dtype) -> None:
    with pytest.raises(RangeError, match="Parameter odd is"):
        PagedAdamW([("odd", nn.Parameter(torch.ones(2, dtype=dtype)))])


GROWTH = """
import sys, torch
from pathlib import Path
from trimtab.optim import PagedAdamW
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024
param = torch.nn.Parameter(torch.zeros(4_000_000))
warm = torch.nn.Parameter(torch.zeros(4096))
param.grad, warm.grad = torch.ones_like(param), torch.ones_like(warm)
PagedAdamW([warm]).step()
before = resident()
optimizer = PagedAdamW([param], budget_bytes=int(sys.argv[1]) or None, page_folder=Path(sys.argv[2]))
for _ in range(3):
    optimizer.step()
after_steps = resident()
kept = optimizer.tensors()
print(after_steps - before, resident() - after_steps)
"""


@pytest.mark.parametrize("budget", [0, 4_000_000], ids=["no budget", "an eighth"])
def test_resident_memory_follows_the_budget(tmp_path: Path, budget: int) -> None:
    command = [sys.executable, "-c", GROWTH, str(budget), str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    growth, for_saving = map(int, lines.split())
    state = 8 * 4_000_000
    if budget:
        assert growth < budget + 4e6
        assert for_saving < 4e6
    else:
        assert growth > 0.9 * state


def _move(param: nn.Parameter) -> None:
    moved = nn.Parameter(torch.ones(3, device="meta"))
    moved.grad = torch.ones(3, device="meta")
    param.grad = None
    torch.utils.swap_tensors(param, moved)


def test_parameters_may_be_moved_before_the_first_step() -> None:
    param = nn.Parameter(torch.ones(3))
    tiers: list[str] = []
    options = PageOptions(tier=lambda device: tiers.append(device.type) or FakeTier(100))  # type: ignore[func-returns-value]
    optimizer = PagedAdamW([param], options=options)
    optimizer.state_dict()
    _move(param)
    optimizer.state_dict()
    assert tiers == ["cpu", "meta"]


def test_parameters_moved_after_the_first_step_are_refused() -> None:
    param = nn.Parameter(torch.ones(3))
    optimizer = PagedAdamW([param])
    param.grad = torch.ones(3)
    optimizer.step()
    _move(param)
    with pytest.raises(UsageError, match="Parameter 0 was moved"):
        optimizer.step()


def test_a_sparse_gradient_is_refused_by_name_and_nothing_is_stepped() -> None:
    table, other = nn.Parameter(torch.ones(4, 2)), nn.Parameter(torch.ones(3))
    optimizer = PagedAdamW([("other", other), ("table", table)])
    other.grad, table.grad = torch.ones(3), torch.ones(4, 2).to_sparse()
    with pytest.raises(RangeError, match=r"table is torch\.float32, torch\.sparse_coo"):
        optimizer.step()
    assert torch.equal(other, torch.ones(3))
    table.grad = torch.ones(4, 2)
    optimizer.step()


def test_no_memory_is_taken_before_the_first_step() -> None:
    optimizer = _paged(_net())
    optimizer.state_dict()
    assert optimizer.resident_bytes == 0
