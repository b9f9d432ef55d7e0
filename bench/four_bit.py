"""Times the 4-bit kernels against PyTorch's float32 linear layer and against bitsandbytes, in one run.

Every ratio is the median over rounds in which both sides ran one after the other, so that a slow moment of the
machine meets both. "floor" is the time to read the same bytes once from memory, measured in the same round. Weights
are cycled through copies that exceed the last-level cache.

    python bench/four_bit.py [--threads 1,2] [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn.functional import linear

from trimtab.kernels import ops
from trimtab.quant import QuantizedWeight, levels, quantize

SHAPES = [(1536, 576), (5632, 2048), (4096, 4096), (11008, 4096)]  # rows (outputs), cols (inputs)
LARGER = SHAPES[1:]
COLD_BYTES = 96 << 20
GEMV_GOALS = dict(zip(SHAPES, (15, 40, 40, 40), strict=True))


@dataclass(frozen=True)
class Row:
    """One figure: times in milliseconds; ``ratio`` and ``floor_ratio`` compare as the goal puts it."""

    what: str
    shape: str
    threads: int
    ours_ms: float
    peer: str
    peer_ms: float
    ratio: float
    floor_ratio: float | None
    goal: str


def main(argv: list[str]) -> int:
    """Measure, print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2", help="thread counts, separated by commas")
    parser.add_argument("--rounds", type=int, default=15, help="paired rounds a figure")
    parser.add_argument("--only", default="", help="measure the figures whose name contains this")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args(argv)
    rows = []
    print(HEADER)
    for threads in map(int, options.threads.split(",")):
        torch.set_num_threads(threads)
        for row in measure(options.rounds, threads, options.only):
            rows.append(row)
            print(format_row(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0


HEADER = (
    f"{'what':<22} {'shape':<12} {'thr':>3} {'ours ms':>9} {'peer':<34} {'peer ms':>9} {'ratio':>7} {'floor':>6}  goal"
)


def format_row(row: Row) -> str:
    """Give one line of the table."""
    floor = "" if row.floor_ratio is None else f"{row.floor_ratio:.2f}"
    return (
        f"{row.what:<22} {row.shape:<12} {row.threads:>3} {row.ours_ms:>9.3f} {row.peer:<34} {row.peer_ms:>9.3f} "
        f"{row.ratio:>7.2f} {floor:>6}  {row.goal}"
    )


def measure(rounds: int, threads: int, only: str) -> Iterator[Row]:
    """Give the rows of one thread count."""
    figures = [
        (("matrix-vector", "matrix-vector exact"), matrix_vector, SHAPES),
        (("quantize",), quantizing, LARGER),
        (("dequantize, reused", "dequantize, fresh"), dequantizing, LARGER),
        (("4 rows forward", "16 rows forward"), sixteen_rows, SHAPES),
        (("512 rows fwd+bwd",), long_input, SHAPES),
        (("1000 calls",), call_overhead, [(64, 64)]),
    ]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for names, figure, shapes in figures:
            for shape in shapes if any(only in name for name in names) else []:
                yield from (found for found in figure(shape, rounds, threads) if only in found.what)


def paired(rounds: int, *calls: Callable[[], object], times_each: int = 1) -> list[list[float]]:
    """Time the calls in turn, a round at a time, after one untimed round; milliseconds, one list a call.

    A call that takes microseconds is made several times in a row, as the layers of a network are.
    """
    times: list[list[float]] = [[] for _ in calls]
    for index in range(rounds + 1):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            for _ in range(times_each):
                call()
            if index:
                taken.append((time.perf_counter() - start) * 1e3 / times_each)
    return times


def batch(shape: tuple[int, int]) -> int:
    """Give the number of calls in a row for a shape."""
    return 20 if shape[0] * shape[1] < 1 << 21 else 1


def median_ratio(above: list[float], below: list[float]) -> float:
    """Give the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def row(what: str, shape: tuple[int, int], threads: int, **values: object) -> Row:
    """Make a row from lists of times: ours, theirs, and perhaps a floor."""
    ours, theirs, floor = values["ours"], values["theirs"], values.get("floor")
    faster = bool(values.get("faster", True))
    return Row(
        what,
        f"{shape[0]}x{shape[1]}",
        threads,
        statistics.median(ours),
        str(values["peer"]),
        statistics.median(theirs),
        median_ratio(theirs, ours) if faster else median_ratio(ours, theirs),
        None if floor is None else median_ratio(ours, floor),
        str(values["goal"]),
    )


def linear_of(weight: QuantizedWeight, exact: bool = False) -> Callable[[torch.Tensor], torch.Tensor]:
    """Give a function that multiplies with one quantized weight."""
    packed = weight.packed()
    nested = {name: getattr(packed, name) for name in ("nested_absmax", "nested_offset", "nested_table")}
    parts = packed.codes, packed.absmax, packed.table
    fixed = {"shape": packed.shape, "block_size": packed.block_size, "exact": exact, **nested}
    return lambda x: ops.linear_4bit(x, *parts, **fixed)


def copies_of(weight: QuantizedWeight) -> list[QuantizedWeight]:
    """Copy a weight until the copies no longer fit any cache."""
    return [quantize(weight.dense()) for _ in range(COLD_BYTES // weight.nbytes + 1)]


def matrix_vector(shape: tuple[int, int], rounds: int, threads: int) -> Iterator[Row]:
    """Batch 1, cold, against each way that bitsandbytes has of doing it in a layer with float32 activations."""
    import bitsandbytes as peer

    rows, cols = shape
    weight, x = torch.randn(rows, cols) * 0.02, torch.randn(1, cols)
    quantized = quantize(weight)
    many = copies_of(quantized)
    ours = itertools.cycle([linear_of(copy) for copy in many])
    exact = itertools.cycle([linear_of(copy, exact=True) for copy in many])
    memory = torch.zeros((COLD_BYTES * 2) // 8, dtype=torch.int64)
    spans = itertools.cycle(memory.split(max(1, quantized.nbytes // 8))[:-1])
    dense = theirs_4bit(peer, weight)
    settled = [packed_layer(peer, weight) for _ in range(min(len(many), 12))]
    for layer in settled:
        layer(x)
    layers = itertools.cycle(settled)
    calls = [
        lambda: next(ours)(x),
        lambda: next(exact)(x),
        lambda: dense(x),
        lambda: next(layers)(x),
        lambda: next(spans).sum(),
    ]
    a, b, c, d, floor = paired(rounds, *calls, times_each=batch(shape))
    goal = f">= {GEMV_GOALS[shape]}x, floor <= 1.3"
    yield row("matrix-vector", shape, threads, ours=a, theirs=c, floor=floor, peer="bitsandbytes fp32", goal=goal)
    name = "bitsandbytes eval, bf16 kernel" if is_repacked(peer) else "bitsandbytes eval"
    yield row("matrix-vector", shape, threads, ours=a, theirs=d, floor=floor, peer=name, goal="(its inference layout)")
    yield row("matrix-vector exact", shape, threads, ours=b, theirs=c, floor=floor, peer="bitsandbytes fp32", goal="")


def theirs_4bit(peer: object, weight: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Give bitsandbytes' float32 product, which makes the weight dense each time."""
    codes, state = peer.functional.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)
    return lambda x: peer.matmul_4bit(x, codes.t(), state)


def packed_layer(peer: object, weight: torch.Tensor) -> torch.nn.Module:
    """Give bitsandbytes' layer in evaluation mode, where some processors lay the weight out anew."""
    layer = peer.nn.Linear4bit(
        weight.shape[1], weight.shape[0], bias=False, quant_type="nf4", compute_dtype=torch.float32
    )
    layer.weight = peer.nn.Params4bit(weight.clone(), requires_grad=False, quant_type="nf4", compress_statistics=True)
    return layer.to("cpu").eval()


def is_repacked(peer: object) -> bool:
    """Say whether bitsandbytes has its bfloat16 kernel on this processor."""
    return bool(peer.functional.has_avx512bf16())


def quantizing(shape: tuple[int, int], rounds: int, threads: int) -> Iterator[Row]:
    """NF4 without double quantization, which both sides do in another pass."""
    import bitsandbytes.functional as peer

    weight, table = torch.randn(shape) * 0.02, levels("nf4")
    ours, theirs = paired(
        max(3, rounds // 3),
        lambda: ops.quantize_4bit(weight, table, block_size=64),
        lambda: peer.quantize_4bit(weight, blocksize=64, quant_type="nf4"),
    )
    yield row("quantize", shape, threads, ours=ours, theirs=theirs, peer="bitsandbytes", goal=">= 20x")


def dequantizing(shape: tuple[int, int], rounds: int, threads: int) -> Iterator[Row]:
    """To float32; bitsandbytes can only write to fresh memory, ours also to a buffer that is used again."""
    import bitsandbytes.functional as peer

    weight = torch.randn(shape) * 0.02
    packed, room = quantize(weight).packed(), torch.empty(shape)
    codes, state = peer.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)
    again, fresh, theirs = paired(
        rounds,
        lambda: ops.dequantize_4bit(packed, out=room),
        lambda: ops.dequantize_4bit(packed),
        lambda: peer.dequantize_4bit(codes, state),
    )
    yield row("dequantize, reused", shape, threads, ours=again, theirs=theirs, peer="bitsandbytes", goal=">= 8x")
    yield row("dequantize, fresh", shape, threads, ours=fresh, theirs=theirs, peer="bitsandbytes", goal="(page faults)")


def sixteen_rows(shape: tuple[int, int], rounds: int, threads: int) -> Iterator[Row]:
    """Few rows of activations, cold, in exact float32."""
    weight = torch.randn(shape) * 0.02
    ours = itertools.cycle([linear_of(copy, exact=True) for copy in copies_of(quantize(weight))])
    theirs = itertools.cycle([weight.clone() for _ in range(COLD_BYTES // weight.nbytes + 1)])
    for count in (4, 16):
        x = torch.randn(count, shape[1])
        a, b = paired(rounds, lambda x=x: next(ours)(x), lambda x=x: linear(x, next(theirs)), times_each=batch(shape))
        goal = "<= 0.8" if count == 16 else ""
        name = f"{count} rows forward"
        yield row(name, shape, threads, ours=a, theirs=b, peer="fp32 linear", goal=goal, faster=False)


def long_input(shape: tuple[int, int], rounds: int, threads: int) -> Iterator[Row]:
    """512 rows, forward and gradient of the input; the weight is frozen on both sides."""
    weight = torch.randn(shape) * 0.02
    multiply = linear_of(quantize(weight))
    x = torch.randn(512, shape[1], requires_grad=True)
    seed = torch.randn(512, shape[0])

    def step(forward: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        with torch.enable_grad():
            return torch.autograd.grad(forward(x), x, seed)[0]

    a, b = paired(max(5, rounds // 2), lambda: step(multiply), lambda: step(lambda x: linear(x, weight)))
    yield row("512 rows fwd+bwd", shape, threads, ours=a, theirs=b, peer="fp32 linear", goal="<= 1.08", faster=False)


def call_overhead(shape: tuple[int, int], rounds: int, threads: int) -> Iterator[Row]:
    """A thousand calls on a matrix too small to matter."""
    multiply, x, weight = linear_of(quantize(torch.randn(shape))), torch.randn(1, shape[1]), torch.randn(shape)

    def thousand(forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for _ in range(1000):
            forward(x)

    a, b = paired(rounds, lambda: thousand(multiply), lambda: thousand(lambda x: linear(x, weight)))
    goal = "ours - peer <= 6 (us a call)"
    yield row("1000 calls", shape, threads, ours=a, theirs=b, peer="fp32 linear", goal=goal, faster=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
