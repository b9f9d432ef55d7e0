"""A whole QLoRA training step of SmolLM2-135M: trimtab against transformers + peft + bitsandbytes.

Each side runs in a process of its own, the sides taking turns; the table gives medians of seconds a step, peak
resident memory, and the ratio. All sides see the same tokens and targets: every token ("all"), or the second half of
each row, as in question and answer ("half"). All compute is float32; rank 16 on all linear layers; optimizer AdamW. The
floor is the time of the step's matrix products alone, every token a target, measured in the same run.

    python bench/qlora_step.py [--rounds 2] [--json rows.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from _process import printed_by

RANK = 16
SHAPES = ((1, 512), (4, 128))
TARGETS = ("half", "all")
SIDES = ("trimtab", "bitsandbytes", "peft-fp32", "floor")
WARM_UP, TIMED = 1, 3


def main(argv: list[str]) -> None:
    """Run every side in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, nargs="*", default=[2, 1])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--targets", choices=TARGETS, nargs="*", default=list(TARGETS))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=int, nargs=2, default=SHAPES[0], help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.side:
        print(json.dumps(measure(given.side, given.model, tuple(given.shape), given.threads[0], given.targets[0])))
        return
    cases = [(threads, shape, targets) for threads in given.threads for shape in SHAPES for targets in given.targets]
    rows: list[dict[str, Any]] = []
    for threads, shape, targets in cases:
        rows += compare(given, shape, threads, targets)
        print_table(rows[-5:])
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def compare(given: argparse.Namespace, shape: tuple[int, int], threads: int, targets: str) -> list[dict[str, Any]]:
    """Give the rows of one shape: peers, ratio, goal."""
    seen: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(given.rounds):
        for side in SIDES:
            words = ("--side", side, "--model", given.model, "--threads", threads, "--shape", *shape)
            seen[side].append(printed_by(__file__, *words, "--targets", targets))
    seconds = {side: statistics.median(s for run in runs for s in run["seconds"]) for side, runs in seen.items()}
    peak = {side: max(run["peak_bytes"] for run in runs) for side, runs in seen.items()}
    ours, tokens = seconds["trimtab"], shape[0] * shape[1]
    where = {"shape": f"{shape[0]}x{shape[1]}", "targets": targets, "threads": threads}

    def row(what: str, peer: str, mine: float, theirs: float, goal: str) -> dict[str, Any]:
        return {
            "what": what,
            "peer": peer,
            **where,
            "ours": mine,
            "theirs": theirs,
            "ratio": theirs / mine,
            "goal": goal,
        }

    return [
        row("step, s", "transformers + peft + bitsandbytes NF4", ours, seconds["bitsandbytes"], ">= 1.5"),
        row("step, s", "transformers + peft LoRA, fp32 base", ours, seconds["peft-fp32"], ">= 1.0"),
        row("tokens/s", "transformers + peft + bitsandbytes NF4", tokens / ours, tokens / seconds["bitsandbytes"], ""),
        row("step over matrix products alone", "fp32 GEMM floor", ours, seconds["floor"], "stretch >= 0.8"),
        row(
            "peak RSS, MB",
            "transformers + peft + bitsandbytes NF4",
            peak["trimtab"] / 1e6,
            peak["bitsandbytes"] / 1e6,
            ">= 2.0",
        ),
    ]


def measure(side: str, model: str, shape: tuple[int, int], threads: int, targets: str) -> dict[str, Any]:
    """Time steps of one side in this process."""
    import torch

    from trimtab.core.memory import peak_bytes
    from trimtab.store.resolve import resolve

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    builders = {"trimtab": trimtab_step, "bitsandbytes": bitsandbytes_step, "peft-fp32": peft_step, "floor": floor_step}
    ids = torch.randint(1000, 40000, shape)
    labels = ids.clone()
    if targets == "half":
        labels[:, : shape[1] // 2] = -100
    step = builders[side](str(resolve(model)), ids, labels)
    seconds = []
    for index in range(WARM_UP + TIMED):
        began = time.perf_counter()
        step()
        if index >= WARM_UP:
            seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "peak_bytes": peak_bytes(torch.device("cpu"))}


def trimtab_step(folder: str, ids: Any, labels: Any) -> Any:
    """Ours."""
    import torch

    from trimtab.nn.freeze import trainable
    from trimtab.optim import PagedAdamW
    from trimtab.train.data import Batch
    from trimtab.train.prepare import build_model
    from trimtab.train.request import TrainRequest
    from trimtab.train.settings import TrainSettings
    from trimtab.train.step import accumulate_gradients, finish_step

    request = TrainRequest(Path(folder), "", Path(), TrainSettings(rank=RANK, alpha=RANK))
    model = build_model(request, torch.device("cpu"))
    optimizer = PagedAdamW(trainable(model.net).items(), lr=1e-4)
    batch = Batch(input_ids=ids, labels=labels, attention_mask=torch.ones_like(ids), position_ids=None, places=())
    model.net.train()

    def step() -> None:
        accumulate_gradients(model, [batch])
        finish_step(model, optimizer, lr=1e-4, clip_norm=1.0)

    return step


def bitsandbytes_step(folder: str, ids: Any, labels: Any) -> Any:
    """The field's usual stack, float32 compute (its best here)."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    return peft_steps(
        AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, dtype=torch.float32), ids, labels
    )


def peft_step(folder: str, ids: Any, labels: Any) -> Any:
    """LoRA on the unquantized base."""
    import torch
    from transformers import AutoModelForCausalLM

    return peft_steps(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), ids, labels)


def peft_steps(net: Any, ids: Any, labels: Any) -> Any:
    """Adapt with peft and step with torch's fastest AdamW."""
    import torch
    from peft import LoraConfig, get_peft_model

    net = get_peft_model(net, LoraConfig(r=RANK, lora_alpha=RANK, target_modules="all-linear", task_type="CAUSAL_LM"))
    net.train()
    learning = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-4, fused=True)

    def step() -> None:
        net(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def floor_step(folder: str, ids: Any, _labels: Any) -> Any:
    """Only the products that nobody can avoid: forward and input gradient of every linear layer and the head."""
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    width, inner, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    keys = width // heads * config.num_key_value_heads
    layer = [
        (width, width),
        (keys, width),
        (keys, width),
        (width, width),
        (inner, width),
        (inner, width),
        (width, inner),
    ]
    shapes = layer * config.num_hidden_layers + [(config.vocab_size, width)]
    weights = {shape: torch.randn(shape) for shape in set(shapes)}
    rows = ids.numel()
    inputs = {n: torch.randn(rows, n) for n in (width, keys, inner, config.vocab_size)}
    outputs = {n: torch.empty(rows, n) for n in inputs}

    def step() -> None:
        for out_features, in_features in shapes:
            weight = weights[out_features, in_features]
            torch.mm(inputs[in_features], weight.t(), out=outputs[out_features])
            torch.mm(inputs[out_features], weight, out=outputs[in_features])

    return step


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print what was measured."""
    head = f"{'shape':>6} {'targets':>7} {'thr':>3} {'ours':>8} {'peer':>8} {'ratio':>6}  goal"
    print(f"{'what':32} {'peer':40} {head}")
    for r in rows:
        figures = f"{r['ours']:8.3f} {r['theirs']:8.3f} {r['ratio']:6.2f}"
        where = f"{r['shape']:>6} {r['targets']:>7} {r['threads']:>3}"
        print(f"{r['what']:32} {r['peer']:40} {where} {figures}  {r['goal']}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
