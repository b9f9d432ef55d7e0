"""The AdamW step: the C kernel against its plain twin, and the 8-bit rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from needs import need
from trimtab.core.errors import RangeError
from trimtab.kernels import optimizer_cpu
from trimtab.kernels._library import library
from trimtab.kernels.ops.optimizer import BLOCK_SIZE, adamw_, adamw_numbers
from trimtab.kernels.ops.tables import dynamic_map, midpoints
from trimtab.kernels.optimizer_reference import decode, encode

LENGTHS = [1, 7, 8, 255, 256, 257, 1000, 5 * 256, 33_000]  # long enough together for two threads
needs_c = pytest.mark.usefixtures("c_library")


@pytest.fixture
def c_library() -> None:
    """Demand the C library."""
    need(library() is not None, "the C library", "Install gcc and run `pip install -e .`.")


@pytest.fixture(params=["cpu", "reference"])
def impl(request: pytest.FixtureRequest) -> str:
    """Each implementation."""
    if request.param == "cpu":
        request.getfixturevalue("c_library")
    return str(request.param)


class Case:
    """Parameters, gradients over many magnitudes, empty state and one slice each; aligned to blocks."""

    def __init__(self, bits: int, dtype: torch.dtype = torch.float32, lengths: list[int] = LENGTHS) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.params = [torch.randn(n, generator=self.generator).to(dtype) for n in lengths]
        starts = [sum(-(-n // BLOCK_SIZE) * BLOCK_SIZE for n in lengths[:i]) for i in range(len(lengths) + 1)]
        rows = [(i, 0, start, n) for i, (start, n) in enumerate(zip(starts[:-1], lengths, strict=True))]
        self.slices = torch.tensor(rows, dtype=torch.int64)
        total = starts[-1]
        wide = [torch.zeros(total), torch.zeros(total)]
        codes = [torch.zeros(total, dtype=torch.uint8) for _ in range(2)]
        self.state = wide if bits == 32 else [*codes, *(torch.zeros(total // BLOCK_SIZE) for _ in range(2))]

    def grads(self) -> list[Tensor]:
        sizes = [torch.exp2(torch.empty(p.shape).uniform_(-24, 0, generator=self.generator)) for p in self.params]
        noise = [torch.randn(p.shape, generator=self.generator) for p in self.params]
        return [(a * b).to(p.dtype) for a, b, p in zip(sizes, noise, self.params, strict=True)]

    def run(self, how: str, steps: int = 5) -> list[Tensor]:
        for step in range(1, steps + 1):
            numbers = adamw_numbers(0.01, (0.9, 0.999), 1e-8, 0.1, step)
            if how == "plain C":
                optimizer_cpu.step(self.params, self.grads(), self.state, self.slices, numbers, wide=False)
            else:
                adamw_(self.params, self.grads(), self.state, slices=self.slices, numbers=numbers, impl=how)
        return [*self.params, *self.state]


@needs_c
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("how", ["cpu", "plain C"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", [32, 8])
def test_the_c_kernel_gives_the_bits_of_its_twin(bits: int, dtype: torch.dtype, how: str, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)  # for both: torch's own exp2, of which the gradients are made, depends on it
    try:
        found, expected = Case(bits, dtype).run(how, 3), Case(bits, dtype).run("reference", 3)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("bits", [32, 8])
def test_the_operator_is_well_behaved(bits: int, impl: str) -> None:
    case = Case(bits, lengths=[300, 8])
    numbers = adamw_numbers(0.01, (0.9, 0.999), 1e-8, 0.1, 1)
    arguments = (case.params, case.grads(), case.state, case.slices, numbers, impl)
    torch.library.opcheck(torch.ops.trimtab.adamw_.default, arguments)


@pytest.mark.parametrize("bits", [32, 8])
def test_what_lies_outside_the_slices_is_not_touched(bits: int, impl: str) -> None:
    case = Case(bits, lengths=[1024])
    untouched = [part.clone() for part in [*case.params, *case.state]]
    case.slices = torch.tensor([[0, 256, 256, 256]])
    for before, after in zip(untouched, case.run(impl), strict=True):
        width = before.numel() // 4
        assert torch.equal(before[:width], after[:width])
        assert torch.equal(before[2 * width :], after[2 * width :])
        assert not torch.equal(before[width : 2 * width], after[width : 2 * width])


def test_the_first_step_moves_each_weight_by_the_learning_rate_against_its_gradient() -> None:
    param = torch.zeros(4)
    state = [torch.zeros(4), torch.zeros(4)]
    numbers = adamw_numbers(0.01, (0.9, 0.999), 0.0, 0.0, 1)
    adamw_(
        [param], [torch.tensor([3.0, -0.2, 1e-4, -7.0])], state, slices=torch.tensor([[0, 0, 0, 4]]), numbers=numbers
    )
    assert torch.allclose(param, torch.tensor([-0.01, 0.01, -0.01, 0.01]), rtol=1e-5)


def test_decay_comes_before_the_update() -> None:
    param = torch.ones(1)
    numbers = adamw_numbers(0.1, (0.9, 0.999), 0.0, 0.5, 1)
    adamw_(
        [param], [torch.ones(1)], [torch.zeros(1), torch.zeros(1)], slices=torch.tensor([[0, 0, 0, 1]]), numbers=numbers
    )
    assert param.item() == pytest.approx(1 - 0.1 * 0.5 - 0.1)


@pytest.mark.parametrize("signed", [True, False])
def test_every_entry_of_the_map_comes_back_as_itself(signed: bool) -> None:
    codes, absmax = encode(dynamic_map(signed), signed=signed)
    assert codes.tolist() == list(range(256))
    assert torch.equal(decode(codes, absmax, signed=signed), dynamic_map(signed))


@pytest.mark.parametrize("signed", [True, False])
def test_values_round_to_the_nearest_entry(signed: bool) -> None:
    values = torch.randn(4096) * torch.exp2(torch.empty(4096).uniform_(-20, 0))
    values = values if signed else values.abs()
    codes, absmax = encode(values, signed=signed)
    scaled = (values.view(-1, 256) / absmax[:, None]).view(-1, 1).double()
    best = (scaled - dynamic_map(signed).double()).abs().min(dim=1).values
    found = (scaled[:, 0] - dynamic_map(signed).double()[codes.int()]).abs()
    assert (found - best).max() < 1e-9


@pytest.mark.parametrize("signed", [True, False])
def test_a_block_of_zeros_stays_zero(signed: bool) -> None:
    codes, absmax = encode(torch.zeros(300), signed=signed)
    assert not decode(codes, absmax, signed=signed).any()


@pytest.mark.parametrize("signed", [True, False])
def test_no_cell_of_the_look_up_holds_two_midpoints(signed: bool) -> None:
    first = optimizer_cpu.first_codes(signed)[:-3].int().view(2, -1)
    assert (first[0].diff() <= 1).all()
    assert (first[1].diff() >= -1).all()


@needs_c
@pytest.mark.parametrize("signed", [True, False])
def test_the_look_up_agrees_with_the_twin_at_every_midpoint_and_its_neighbours(signed: bool) -> None:
    middle = midpoints(signed)
    near = [middle, middle.nextafter(torch.tensor(2.0)), middle.nextafter(torch.tensor(-2.0))]
    values = torch.cat([part for piece in near for part in (piece, torch.ones(1))])  # 3 blocks, each with absmax 1
    numbers = [0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0]  # the averages become the gradient and its square
    found = []
    for impl in ("cpu", "reference"):
        state = [torch.zeros(768, dtype=torch.uint8) for _ in range(2)] + [torch.zeros(3) for _ in range(2)]
        grad = values if signed else values.sqrt()
        adamw_([torch.zeros(768)], [grad], state, slices=torch.tensor([[0, 0, 0, 768]]), numbers=numbers, impl=impl)
        found.append(state[0 if signed else 1])
    assert torch.equal(*found)


@needs_c
def test_gradients_that_are_no_numbers_stay_inside_the_arrays() -> None:
    case = Case(8)
    for bad in (torch.nan, torch.inf, -torch.inf):
        numbers = adamw_numbers(0.01, (0.9, 0.999), 1e-8, 0.1, 1)
        adamw_(
            case.params, [torch.full_like(p, bad) for p in case.params], case.state, slices=case.slices, numbers=numbers
        )
    assert not any(param.isfinite().any() for param in case.params)


def test_an_unknown_implementation_is_refused() -> None:
    with pytest.raises(RangeError, match="Did you mean"):
        Case(32).run("refrence")
