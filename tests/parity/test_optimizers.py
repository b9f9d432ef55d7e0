"""PagedAdamW against torch's own AdamW and bitsandbytes' optimizers.

Where all do the same sums they round differently: the others fuse a product and a sum into one rounding, or put eps
on the other side of the bias correction. Hence a few units in the last place a step with 32-bit state. With 8-bit
state bitsandbytes' CPU path rounds through a coarse table, while ours takes the nearest entry; a code may then be off
by the spacing of the map, so single weights drift apart and only the outcome of training is compared over many steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from needs import need
from trimtab.kernels.ops.tables import dynamic_map
from trimtab.optim import PagedAdamW

need(find_spec("bitsandbytes") is not None, "bitsandbytes", "Install it with: pip install 'trimtab[compare]'.")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import bitsandbytes

SETTINGS = {"lr": 0.01, "weight_decay": 0.1}
Make = Callable[[Iterable[Tensor]], torch.optim.Optimizer]


def _net(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 64)).to(dtype)


def _train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    generator = torch.Generator().manual_seed(1)
    dtype = next(net.parameters()).dtype
    inputs = torch.randn(64, 64, generator=generator)
    targets = torch.tanh(inputs @ torch.randn(64, 64, generator=generator) * 0.2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (net(inputs.to(dtype)).float() - targets).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _gap(make: Make, other: Make, steps: int, dtype: torch.dtype = torch.float32) -> float:
    """Give the largest difference of any weight after training one net with each."""
    nets = [_net(dtype), _net(dtype)]
    for net, one in zip(nets, (make, other), strict=True):
        _train(net, one(net.parameters()), steps)
    pairs = zip(nets[0].parameters(), nets[1].parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def _ours(bits: int = 32, **more: Any) -> Make:
    return lambda params: PagedAdamW(params, bits=bits, **SETTINGS, **more)


@pytest.mark.parametrize("how", [{}, {"foreach": True}, {"fused": True}], ids=["loop", "foreach", "fused"])
def test_weights_follow_torchs_adamw_to_rounding(how: dict[str, bool]) -> None:
    assert _gap(_ours(), lambda params: torch.optim.AdamW(params, **SETTINGS, **how), steps=10) < 1e-6


def test_weights_follow_bitsandbytes_32_bit_to_rounding() -> None:
    assert _gap(_ours(), lambda params: bitsandbytes.optim.AdamW32bit(params, **SETTINGS), steps=10) < 1e-6


def test_weights_in_bfloat16_follow_bitsandbytes_to_one_unit_a_step() -> None:
    make = lambda params: bitsandbytes.optim.AdamW32bit(params, **SETTINGS)  # noqa: E731
    assert _gap(_ours(), make, steps=5, dtype=torch.bfloat16) <= 5 * 2**-9  # weights are below 1/4 or so


@pytest.fixture(scope="module")
def their_8_bit() -> tuple[nn.Module, Any]:
    """A net after ten steps of bitsandbytes' 8-bit AdamW, and the optimizer."""
    net = _net()
    optimizer = bitsandbytes.optim.AdamW8bit(net.parameters(), **SETTINGS)
    _train(net, optimizer, 10)
    return net, optimizer


def test_8_bit_weights_agree_to_rounding_after_one_step() -> None:
    assert _gap(_ours(8), lambda params: bitsandbytes.optim.AdamW8bit(params, **SETTINGS), steps=1) < 1e-6


def test_state_made_by_bitsandbytes_is_taken_and_steps_alike(their_8_bit: tuple[nn.Module, Any]) -> None:
    theirs_net, theirs = their_8_bit
    net = _net()
    net.load_state_dict(theirs_net.state_dict())
    ours = PagedAdamW(net.parameters(), bits=8, **SETTINGS)
    packed = ours.state_dict()
    for index, param in enumerate(theirs_net.parameters()):
        state = theirs.state[param]
        if state["state1"].dtype == torch.uint8:
            names = {part: part for part in ("state1", "state2", "absmax1", "absmax2")}
        else:
            names = {"state1": "exp_avg", "state2": "exp_avg_sq"}
        packed["state"][index] = {
            "step": state["step"],
            **{ours_: state[part].clone() for part, ours_ in names.items()},
        }
    ours.load_state_dict(packed)
    _train(net, ours, 1)
    _train(theirs_net, theirs, 1)
    for a, b in zip(net.parameters(), theirs_net.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_8_bit_codes_agree_but_for_neighbours_on_the_coarse_table() -> None:
    nets = [_net(), _net()]
    ours = PagedAdamW(nets[0].parameters(), bits=8, **SETTINGS)
    theirs = bitsandbytes.optim.AdamW8bit(nets[1].parameters(), **SETTINGS)
    _train(nets[0], ours, 1)
    _train(nets[1], theirs, 1)
    found, expected = ours.state_dict()["state"][0], theirs.state[next(nets[1].parameters())]
    for number, signed in ((1, True), (2, False)):
        codes = [state[f"state{number}"].int() for state in (found, expected)]
        values = dynamic_map(signed)
        assert (codes[0] == codes[1]).float().mean() > 0.95
        assert (values[codes[0]] - values[codes[1]]).abs().max() <= values.diff().max()
        assert torch.allclose(found[f"absmax{number}"], expected[f"absmax{number}"], rtol=1e-6)


def test_8_bit_training_ends_where_bitsandbytes_and_32_bit_end() -> None:
    makes = [_ours(8), _ours(32), lambda params: bitsandbytes.optim.AdamW8bit(params, **SETTINGS)]
    ends = []
    for make in makes:
        net = _net()
        ends.append(_train(net, make(net.parameters()), 40)[-1])
    assert ends[0] == pytest.approx(ends[1], rel=0.05)
    assert ends[0] == pytest.approx(ends[2], rel=0.05)


def test_8_bit_state_takes_as_many_bytes_as_theirs(their_8_bit: tuple[nn.Module, Any]) -> None:
    net, theirs = their_8_bit
    weight = next(net.parameters())
    expected = sum(theirs.state[weight][part].nbytes for part in ("state1", "state2", "absmax1", "absmax2"))
    ours = PagedAdamW([weight], bits=8, **SETTINGS)
    ours.step()
    assert ours.resident_bytes == expected
