"""One optimizer step on the LoRA parameters of SmolLM2-135M: trimtab's paged AdamW against torch and bitsandbytes.

The parameters are 210 pairs of A (16, in) and B (out, 16), 4.9 million in all, with gradients of a fixed size. Every
contender steps a copy of its own; the contenders take turns, and a ratio is the median of ours over theirs within a
turn. torch's AdamW is given its fastest setting of fused and foreach. "A quarter resident" gives the pages a quarter
of the bytes of the state; its weights are compared to the bit with those of the unpaged run.

    python bench/optimizer.py [--rounds 40] [--threads 2 1] [--json rows.json]
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from _table import print_table
from trimtab.optim import PagedAdamW

LAYERS, HIDDEN, KEYS, INNER, RANK = 30, 576, 192, 1536, 16
LINEARS = (
    (HIDDEN, HIDDEN),
    (HIDDEN, KEYS),
    (HIDDEN, KEYS),
    (HIDDEN, HIDDEN),
    (HIDDEN, INNER),
    (HIDDEN, INNER),
    (INNER, HIDDEN),
)
SETTINGS = {"lr": 2e-4, "weight_decay": 0.01}
WARM_UP = 3
COLUMNS = ("what", "threads", "ours", "peer", "theirs", "ratio", "goal")

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def main(argv: list[str]) -> None:
    """Time everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, nargs="*", default=[2, 1])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    rows = [row for threads in given.threads for row in compare(threads, given.rounds)]
    print_table(rows, COLUMNS)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


def compare(threads: int, rounds: int) -> list[dict[str, Any]]:
    """Give the rows for one number of threads."""
    torch.set_num_threads(threads)
    quarter = 2 * sum(param.nbytes for param in parameters()) // 4
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        makes: dict[str, Make] = {
            "trimtab": lambda params: PagedAdamW(params, **SETTINGS),
            "torch fused": lambda params: torch.optim.AdamW(params, fused=True, **SETTINGS),
            "torch foreach": lambda params: torch.optim.AdamW(params, foreach=True, **SETTINGS),
            "trimtab quarter": lambda params: PagedAdamW(
                params, budget_bytes=quarter, page_folder=Path(folder), **SETTINGS
            ),
            "trimtab 8-bit": lambda params: PagedAdamW(params, bits=8, **SETTINGS),
            **bitsandbytes_makes(),
        }
        runs = {name: Contender(make) for name, make in makes.items()}
        take_turns(list(runs.values()), rounds)
        return rows_of(runs, threads)


class Contender:
    """One optimizer with parameters and gradients of its own, and the seconds of each step."""

    def __init__(self, make: Make) -> None:
        """Make both; every contender gets the same numbers."""
        self.params = parameters()
        self.optimizer = make(self.params)
        self.seconds: list[float] = []

    def step(self) -> None:
        """Take one step and note its time."""
        start = time.perf_counter()
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)


def parameters() -> list[nn.Parameter]:
    """Give the adapter's parameters with gradients."""
    generator = torch.Generator().manual_seed(0)
    shapes = [shape for _ in range(LAYERS) for inner, outer in LINEARS for shape in ((RANK, inner), (outer, RANK))]
    params = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator) * 1e-3
    return params


def bitsandbytes_makes() -> dict[str, Make]:
    """Give bitsandbytes' two optimizers where it is installed."""
    try:
        import bitsandbytes
    except ImportError:
        return {}
    return {
        "bitsandbytes 32-bit": lambda params: bitsandbytes.optim.AdamW32bit(params, **SETTINGS),
        "bitsandbytes 8-bit": lambda params: bitsandbytes.optim.AdamW8bit(params, **SETTINGS),
    }


def take_turns(runs: list[Contender], rounds: int) -> None:
    """Let everybody step in turn, beginning with another one each time."""
    gc.disable()
    for turn in range(WARM_UP + rounds):
        first = turn % len(runs)
        for run in runs[first:] + runs[:first]:
            run.step()
    gc.enable()
    for run in runs:
        del run.seconds[:WARM_UP]


def rows_of(runs: dict[str, Contender], threads: int) -> list[dict[str, Any]]:
    """Compare what belongs together."""
    fastest = min(("torch fused", "torch foreach"), key=lambda name: statistics.median(runs[name].seconds))
    same = all(map(torch.equal, runs["trimtab"].params, runs["trimtab quarter"].params))
    pairs = [
        ("32-bit state, all resident", "trimtab", fastest, "at most 1.1"),
        (f"a quarter resident, same bits: {'yes' if same else 'NO'}", "trimtab quarter", fastest, "runs, same bits"),
        ("8-bit state, all resident", "trimtab 8-bit", fastest, ""),
    ]
    if "bitsandbytes 8-bit" in runs:
        pairs.append(("32-bit state, all resident", "trimtab", "bitsandbytes 32-bit", ""))
        pairs.append(("8-bit state, all resident", "trimtab 8-bit", "bitsandbytes 8-bit", ""))
    return [row(what, runs[ours], peer, runs[peer], goal) | {"threads": threads} for what, ours, peer, goal in pairs]


def row(what: str, ours: Contender, peer: str, theirs: Contender, goal: str) -> dict[str, Any]:
    """Give one row: medians in milliseconds, and the median of the ratios within each turn."""
    ratios = [a / b for a, b in zip(ours.seconds, theirs.seconds, strict=True)]
    return {
        "what": what,
        "ours": round(statistics.median(ours.seconds) * 1e3, 2),
        "peer": peer,
        "theirs": round(statistics.median(theirs.seconds) * 1e3, 2),
        "ratio": round(statistics.median(ratios), 3),
        "goal": goal,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
