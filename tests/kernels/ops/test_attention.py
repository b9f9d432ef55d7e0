"""Attention: the compiled code agrees with plain PyTorch and with PyTorch's own, forward and backward."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.kernels import ops

SIZES = [
    # batch, heads, kv_heads, queries, keys, head
    (1, 1, 1, 1, 1, 8),
    (2, 4, 2, 12, 12, 16),
    (1, 9, 3, 100, 100, 64),
    (2, 3, 1, 50, 130, 24),
    (1, 2, 2, 97, 193, 80),
    (1, 2, 1, 49, 49, 256),
    (17, 1, 1, 13, 33, 5),
]
SHAPE = (2, 4, 2, 60, 110, 16)


def draw(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give q, k, v and a gradient of the output."""
    batch, heads, kv_heads, queries, keys, head = shape
    rng = torch.Generator().manual_seed(seed)
    sizes = [(heads, queries), (kv_heads, keys), (kv_heads, keys)]
    q, k, v = (torch.randn(batch, *size, head, generator=rng) for size in sizes)
    return q, k, v, torch.randn(batch, queries, heads, head, generator=rng)


def apply(inputs: tuple[Tensor, ...], starts: Tensor | None = None, impl: str = "cpu") -> list[Tensor]:
    """Give the output and the gradients of q, k and v."""
    *leaves, upstream = inputs
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    out = ops.attention(*leaves, starts, scale=leaves[0].shape[-1] ** -0.5, impl=impl)
    return [out.detach(), *torch.autograd.grad(out, leaves, upstream)]


def formula(inputs: tuple[Tensor, ...], starts: Tensor | None = None) -> list[Tensor]:
    """The same through PyTorch's own attention, in double precision, with a mask built query by query."""
    *leaves, upstream = inputs
    q, k, v = leaves = [leaf.detach().double().requires_grad_() for leaf in leaves]
    batch, queries, keys = q.shape[0], q.shape[2], k.shape[2]
    mask = torch.zeros(batch, 1, queries, keys, dtype=torch.bool)
    for b in range(batch):
        for t in range(queries):
            first = 0 if starts is None else max(int(starts[b, t]), 0)
            mask[b, 0, t, first : t + keys - queries + 1] = True
    shared = [x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v)]
    out = torch.nn.functional.scaled_dot_product_attention(q, *shared, attn_mask=mask).transpose(1, 2)
    return [x.float() for x in (out.detach(), *torch.autograd.grad(out, leaves, upstream.double()))]


def starts_of_kind(kind: str) -> Tensor:
    """Give starts for ``SHAPE``, whose queries stand at the places 50 to 109."""
    place = torch.arange(60) + 50
    rows = {
        "left padding": torch.tensor([[7], [0]]).expand(2, 60),
        "sliding window": (place - 20).expand(2, 60),
        "packed": torch.stack([place // 23 * 23, place // 41 * 41]),
        "own place only": place.expand(2, 60),
        "below zero": torch.full((2, 60), -5),
        "nothing for some": torch.stack([torch.where(place % 3 == 0, 200, 0), place + 1 - place % 2]),
        "in no order": torch.randint(0, 110, (2, 60), generator=torch.Generator().manual_seed(3)),
    }
    return rows[kind].to(torch.int32)


KINDS = ["left padding", "sliding window", "packed", "own place only", "below zero", "nothing for some", "in no order"]


@pytest.mark.parametrize("shape", SIZES)
def test_output_and_gradients_are_those_of_the_formula(shape, impl):
    torch.testing.assert_close(apply(draw(shape), impl=impl), formula(draw(shape)), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_each_query_sees_from_its_start_to_its_own_place(kind, impl):
    starts, inputs = starts_of_kind(kind), draw(SHAPE)
    torch.testing.assert_close(apply(inputs, starts, impl), formula(inputs, starts), rtol=2e-5, atol=2e-5)


def test_queries_beside_each_other_may_begin_several_tiles_of_keys_apart(impl):
    inputs, starts = draw((1, 2, 1, 60, 700, 16)), torch.tensor([[0] * 30 + [650] * 30], dtype=torch.int32)
    torch.testing.assert_close(apply(inputs, starts, impl), formula(inputs, starts), rtol=2e-5, atol=2e-5)


def test_a_query_that_sees_nothing_gives_zeros_and_moves_nothing(impl):
    inputs = draw((1, 2, 1, 20, 20, 8))
    starts = torch.full((1, 20), 20, dtype=torch.int32)
    assert all(not result.any() for result in apply(inputs, starts, impl))


def test_more_queries_than_keys_leave_the_first_ones_blind(impl):
    out, dq, *_ = apply(draw((1, 1, 1, 9, 4, 8)), impl=impl)
    assert out.any(dim=-1).flatten().tolist() == [False] * 5 + [True] * 4
    assert not dq[:, :, :5].any()


@pytest.mark.parametrize("swapped", [(1, 2), (0, 2), (2, 3)])
def test_views_with_swapped_dimensions_give_the_numbers_of_copies(swapped, impl):
    inputs = draw(SHAPE)
    views = tuple(x.transpose(*swapped).contiguous().transpose(*swapped) for x in inputs)
    assert not views[0].is_contiguous()
    torch.testing.assert_close(apply(views, impl=impl), apply(inputs, impl=impl), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 1, 200, 200, 16), (4, 2, 1, 60, 60, 8), (17, 2, 2, 20, 20, 8)])
def test_the_number_of_threads_changes_no_bit(shape):
    inputs, threads, found = draw(shape), torch.get_num_threads(), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        try:
            found.append(apply(inputs, impl="auto"))
        finally:
            torch.set_num_threads(threads)
    assert all(torch.equal(*pair) for other in found[1:] for pair in zip(found[0], other, strict=True))


@pytest.mark.parametrize("scale", [1e-3, 30.0, 1e4])
def test_weak_and_sharp_softmax_stay_right(scale, impl):
    q, k, v, upstream = draw((1, 2, 1, 40, 40, 8))
    results = apply((q * scale, k, v, upstream), impl=impl)
    expected = formula((q * scale, k, v, upstream))
    torch.testing.assert_close(results[0], expected[0], rtol=1e-3, atol=1e-3 if scale > 1e3 else 1e-4)
    assert all(result.isfinite().all() for result in results)


@pytest.mark.parametrize("size", [1e6, 1e8, 1e12])
def test_scores_too_large_to_be_told_apart_give_gradients_of_the_right_size(size, impl):
    inputs = draw((1, 2, 1, 40, 40, 8))
    q, k, v, upstream = inputs
    found = apply((q * size, k, v, upstream), impl=impl)
    modest = apply((q * 1e3, k, v, upstream), impl=impl)
    assert all(result.isfinite().all() for result in found)
    assert found[3].abs().max() <= 2 * modest[3].abs().max()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_not_finite_is_never_hidden(place, value, impl):
    inputs = draw((1, 1, 1, 40, 40, 8))
    inputs[place][0, 0, 30, 3] = value
    if place == 0:
        inputs[1][0, 0, :, 3] = 1.0  # else an infinite query may give its keys the weights 0 and 1, rightly
    out, *grads = apply(inputs, impl=impl)
    assert not out[0, 30:].isfinite().all()
    assert any(not grad.isfinite().all() for grad in grads)


def test_a_key_beyond_what_may_be_seen_changes_no_bit(impl):
    q, k, v, upstream = draw((1, 2, 2, 40, 40, 8))
    before = apply((q, k, v, upstream), impl=impl)[0]
    k[:, :, 25:], v[:, :, 25:] = 7.0, -3.0
    after = apply((q, k, v, upstream), impl=impl)[0]
    assert torch.equal(before[:, :25], after[:, :25])
    assert not torch.equal(before[:, 25:], after[:, 25:])


@pytest.mark.parametrize("starts", [None, starts_of_kind("packed")], ids=["causal", "packed"])
def test_operators_pass_opcheck(starts):
    q, k, v, upstream = draw(SHAPE)
    q.requires_grad_()
    torch.library.opcheck(torch.ops.trimtab.attention.default, (q, k, v, starts, 0.25, "auto"))
    out, totals = torch.ops.trimtab.attention(q.detach(), k, v, starts, 0.25, "auto")
    given = (upstream, q.detach(), k, v, out, totals, starts, 0.25, "auto")
    torch.library.opcheck(torch.ops.trimtab.attention_grad.default, given)


def test_nothing_of_the_size_of_all_scores_is_kept():
    kept: list[int] = []
    q, k, v, _ = draw((1, 2, 1, 600, 600, 8))
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x)
    with hooks:
        ops.attention(q.requires_grad_(), k, v, scale=1.0)
    assert sum(kept) == 2 * q.numel() + k.numel() + v.numel() + 2 * 600


COMPILED = """
import torch
from trimtab.kernels import ops

def net(x):
    q, k, v = x.unflatten(-1, (4, 16)).transpose(1, 2).split((2, 1, 1), dim=1)
    return ops.attention(q, k, v, scale=0.25).flatten(2).sin()

x, x2 = (torch.linspace(-1, 1, 2 * 20 * 64).view(2, 20, 64).requires_grad_() for _ in range(2))
y, y2 = torch.compile(net, fullgraph=True)(x), net(x2)
y.square().sum().backward()
y2.square().sum().backward()
torch.testing.assert_close(y, y2)
torch.testing.assert_close(x.grad, x2.grad)
"""


@pytest.mark.slow
def test_attention_compiles_without_a_graph_break():
    """In a process of its own: the compiler cannot look into functions whose shapes are checked at run time."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda q, k, v, s: (q, k, v.double(), s), "v is torch.float64"),
        (lambda q, k, v, s: (q[:, :3], k, v, s), "multiple of kv_heads"),
        (lambda q, k, v, s: (q, k, v[:, :, 1:], s), r"v \[2, 2, 109, 16\]"),
        (lambda q, k, v, s: (q[:1], k, v, s), r"q \[1, 4, 60, 16\]"),
        (lambda q, k, v, s: (q, k, v, s.long()), "int64"),
        (lambda q, k, v, s: (q, k, v, s[:, 1:]), r"starts \[2, 59\]"),
        (lambda q, k, v, s: (*(x.repeat(1, 1, 1, 17) for x in (q, k, v)), s), "at most 256"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_pointer_is_used(change, said, impl):
    q, k, v, _ = draw(SHAPE)
    with pytest.raises(RangeError, match=said):
        torch.ops.trimtab.attention(*change(q, k, v, starts_of_kind("packed")), 0.25, impl)
