"""Causal attention in float32, forward and backward, against PyTorch's scaled_dot_product_attention, in one run.

The peer is given the better of its two ways with grouped heads, its own and keys and values repeated beforehand; for
packed examples, which take a mask there, the second is its only one. The sides take turns; a ratio is the median over
rounds of the peer's time over ours. The rate counts the products that causal attention needs (two forward, five
backward, half of each square); "matrix product" is torch's own rate on 1024x1024 in the same run.

    python bench/attention.py [--threads 1,2] [--rounds 21] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from _table import print_table
from trimtab.kernels import ops

SHAPES = [(1, 9, 3, 512, 64), (4, 9, 3, 128, 64), (1, 32, 8, 2048, 64), (1, 32, 8, 2048, 128)]
EXAMPLES = 4
LONG = 1024
COLUMNS = ("what", "shape", "threads", "ours_ms", "peer_ms", "ratio", "gflops", "matrix_product_gflops", "goal")
GOALS = {"forward": ">= 2x", "backward": ">= 1.8x"}

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """One setting: the shape (batch, heads, kv heads, time, head), and whether the rows hold several examples."""

    shape: tuple[int, int, int, int, int]
    packed: bool

    @property
    def name(self) -> str:
        """Say it in a few signs."""
        batch, heads, kv_heads, length, head = self.shape
        return f"{batch}x{length}, {heads}/{kv_heads} heads of {head}" + (", packed" if self.packed else "")

    @property
    def forward_flops(self) -> float:
        """Count what the two products of the forward pass need; packed rows see less."""
        batch, heads, _, length, head = self.shape
        examples = EXAMPLES if self.packed else 1
        size = length // examples
        return 4.0 * batch * heads * head * examples * size * (size + 1) / 2


def main(argv: list[str]) -> int:
    """Measure, print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2", help="thread counts, separated by commas")
    parser.add_argument("--rounds", type=int, default=21, help="rounds a figure; a quarter of them for long sequences")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args(argv)
    rows = []
    for threads in map(int, options.threads.split(",")):
        torch.set_num_threads(threads)
        rate = product_rate()
        for case in cases():
            rows += compare(case, rounds_of(case, options.rounds), threads, rate)
    print_table(rows, COLUMNS)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def cases() -> Iterator[Case]:
    """Give every shape, the short ones packed too."""
    for shape in SHAPES:
        yield Case(shape, packed=False)
        if shape[3] < LONG:
            yield Case(shape, packed=True)


def rounds_of(case: Case, rounds: int) -> int:
    """Take fewer rounds where each is long."""
    return rounds if case.shape[3] < LONG else max(3, rounds // 4)


def product_rate() -> float:
    """Measure torch's matrix product, in GFLOP/s; the best of ten."""
    a, taken = torch.randn(1024, 1024), []
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        taken.append(time.perf_counter() - start)
    return 2 * 1024**3 / min(taken) / 1e9


def compare(case: Case, rounds: int, threads: int, rate: float) -> list[dict[str, Any]]:
    """Give the two rows of a case."""
    batch, heads, kv_heads, length, head = case.shape
    q, k, v = (
        torch.randn(batch, length, n, head).transpose(1, 2).requires_grad_() for n in (heads, kv_heads, kv_heads)
    )
    upstream = torch.randn(batch, heads, length, head)
    ways = contenders(case)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for index in range(rounds + 1):
        for name, attend in ways.items():
            taken = timed(attend, (q, k, v), upstream)
            if index:
                times[name].append(taken)
    return [row(case, times, place, threads=threads, rate=rate) for place in range(2)]


def contenders(case: Case) -> dict[str, Attend]:
    """Give ours and the peer's ways, each from and to (batch, heads, time, head)."""
    _, heads, kv_heads, length, head = case.shape
    group, mask, starts = heads // kv_heads, None, None
    if case.packed:
        place = torch.arange(length)
        first = place // (length // EXAMPLES) * (length // EXAMPLES)
        mask = (place >= first[:, None]) & (place <= place[:, None])
        starts = first.to(torch.int32).expand(case.shape[0], -1)

    def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ops.attention(q, k, v, starts, scale=head**-0.5).transpose(1, 2)

    def grouped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    def repeated(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)

    return {"ours": ours, "repeated": repeated} | ({} if case.packed else {"grouped": grouped})


def timed(attend: Attend, leaves: tuple[Tensor, Tensor, Tensor], upstream: Tensor) -> tuple[float, float]:
    """Time one forward and one backward pass, in milliseconds."""
    start = time.perf_counter()
    out = attend(*leaves)
    middle = time.perf_counter()
    torch.autograd.grad(out, leaves, upstream)
    return (middle - start) * 1e3, (time.perf_counter() - middle) * 1e3


def row(
    case: Case, times: dict[str, list[tuple[float, float]]], place: int, *, threads: int, rate: float
) -> dict[str, Any]:
    """Make a row of forward (0) or backward (1) times; the peer is its better way."""
    what = ("forward", "backward")[place]
    lists = {name: [pair[place] for pair in pairs] for name, pairs in times.items()}
    ours = lists.pop("ours")
    peer = min(lists.values(), key=statistics.median)
    flops = case.forward_flops * (1.0, 2.5)[place]
    return {
        "what": what,
        "shape": case.name,
        "threads": threads,
        "ours_ms": round(statistics.median(ours), 2),
        "peer_ms": round(statistics.median(peer), 2),
        "ratio": round(statistics.median(b / a for a, b in zip(ours, peer, strict=True)), 2),
        "gflops": round(flops / statistics.median(ours) / 1e6),
        "matrix_product_gflops": round(rate),
        "goal": GOALS[what],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
