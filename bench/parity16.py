"""The central claim of the QLoRA paper at a small scale: adapters on a 4-bit base learn as well as on an exact one.

A small Llama reads characters of Shakespeare from scratch, on this machine. Then, on text it has not seen:

1. its perplexity with weights rounded by each code (E2M1 is explained in quantization_error.py). One network is one
   draw of rounding errors, so the same network is rounded with its hidden units in several orders: that changes
   nothing but which weights share a block;
2. a fine-tune on text in CAPITALS, which it has hardly met: LoRA on the exact base against QLoRA on 4-bit bases, with
   the same rows in the same order and the same first adapter, three times with other seeds.

Everything is trained by trimtab's own job, so a stopped benchmark continues when it is run again with the same --out,
and the numbers do not depend on how fast the machine is.

    python bench/parity16.py [--out runs/parity16] [--seeds 3] [--json rows.json]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from _table import print_table
from _text import plays
from quantization_error import round_e2m1
from trimtab.core.job import Job, Progress, result_of
from trimtab.models.language_model import LanguageModel
from trimtab.models.load import load_network
from trimtab.models.tokenizer import read_tokenizer
from trimtab.nn.linear import linear_names, quantize_linears
from trimtab.quant import Kind
from trimtab.store.adapter import load_adapter
from trimtab.train.data import DataSettings, Example, encode, read_rows
from trimtab.train.evaluate import held_out_loss
from trimtab.train.loop import train
from trimtab.train.request import TrainRequest
from trimtab.train.settings import TrainSettings

WINDOW, HELD_OUT_SHARE, HELD_OUT_ROWS = 128, 0.1, 800
SPECIALS = ("<|end|>", "<|pad|>")
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": WINDOW,
    "tie_word_embeddings": True,
}
READING = {"max_length": WINDOW, "loss_on": "all", "batch_size": 16, "accumulate": 1, "eval_fraction": 0.0}
PRETRAIN = {"method": "full", "steps": 700, "lr": 3e-3, "schedule": "cosine", "warmup_steps": 50, "clip_norm": 1.0}
FINE_TUNE = {"steps": 80, "lr": 2e-3, "rank": 16, "alpha": 32.0, "clip_norm": 1.0, "schedule": "cosine"}
BASES: dict[str, dict[str, Any]] = {
    "exact": {"method": "lora"},
    "NF4+DQ": {"method": "qlora", "quant_type": "nf4", "double": True},
}
CODES: dict[str, tuple[Kind, bool]] = {
    "INT4": ("int4", False),
    "FP4": ("fp4", False),
    "NF4": ("nf4", False),
    "NF4+DQ": ("nf4", True),
}
BLOCKS, ORDERS, PERPLEXITY_ROWS = (64, 1024), 4, 200


def main(argv: list[str]) -> None:
    """Train, compare, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/parity16"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    plain, capitals = write_rows(given.out, "plain", str), write_rows(given.out, "capitals", str.upper)
    base = pretrain(given.out, plain)
    perplexities = perplexity_rows(base, plain / "held-out.jsonl")
    print_table(perplexities, digits=4)
    tuned = [fine_tune(given.out, base, capitals, name, seed) for seed in range(given.seeds) for name in BASES]
    comparisons = compare(base, capitals / "held-out.jsonl", tuned)
    print_table(comparisons, digits=4)
    if given.json:
        given.json.write_text(json.dumps(perplexities + comparisons, indent=1))


def write_rows(out: Path, name: str, change: Any) -> Path:
    """Cut the plays into windows; the last tenth is never trained on."""
    text = change(plays())
    size = WINDOW - 2
    rows = [text[start : start + size] for start in range(0, len(text) - size, size)]
    first_held_out = int(len(rows) * (1 - HELD_OUT_SHARE))
    folder = out / name
    folder.mkdir(exist_ok=True)
    for file, part in (("train", rows[:first_held_out]), ("held-out", rows[first_held_out:][:HELD_OUT_ROWS])):
        lines = "".join(json.dumps({"text": row}) + "\n" for row in part)
        (folder / f"{file}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def pretrain(out: Path, plain: Path) -> Path:
    """Give the small network's folder, trained once."""
    start = out / "start"
    if not start.is_dir():
        write_random_network(start)
    settings = TrainSettings(**{**READING, **PRETRAIN})
    follow(train(TrainRequest(start, str(plain / "train.jsonl"), out / "base", settings)), "pretraining")
    return out / "base" / "model"


def write_random_network(folder: Path) -> None:
    """Write an untrained Llama with a tokenizer of single bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token=SPECIALS[0], pad_token=SPECIALS[1])
    torch.manual_seed(0)
    net = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), bos_token_id=None, **SHAPE))
    tokenizer.save_pretrained(folder)
    net.save_pretrained(folder)


def perplexity_rows(base: Path, held_out: Path) -> list[dict[str, Any]]:
    """Give the perplexity a character under each code, and how far it varies with the order of units."""
    examples = read_examples(base, held_out)[:PERPLEXITY_ROWS]
    exact = math.exp(loss_of(load_network(base), examples))
    rows: list[dict[str, Any]] = [
        {"block": "-", "code": "exact", "perplexity": round(exact, 4), "rise": 0.0, "spread": 0.0}
    ]
    for block in BLOCKS:
        for code in ("INT4", "FP4", "E2M1", "NF4", "NF4+DQ"):
            nets = (rounded(reordered(load_network(base), order), code, block) for order in range(ORDERS))
            found = [math.exp(loss_of(net, examples)) for net in nets]
            mean, spread = statistics.mean(found), statistics.stdev(found)
            rise = {"rise": round(mean - exact, 4), "spread": round(spread, 4)}
            rows.append({"block": block, "code": code, "perplexity": round(mean, 4), **rise})
    return rows


def rounded(net: nn.Module, code: str, block_size: int) -> nn.Module:
    """Quantize every linear weight; E2M1 is rounded and kept dense."""
    if code in CODES:
        kind, double = CODES[code]
        return quantize_linears(net, kind=kind, double=double, block_size=block_size)
    for name in linear_names(net):
        weight = net.get_submodule(name).weight
        weight.data = round_e2m1(weight.data, block_size)
    return net


def reordered(net: Any, seed: int) -> Any:
    """Put the units of a Llama into another order, everywhere at once: the same function of its input."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randperm(net.config.hidden_size, generator=generator)
    choose(net.model.embed_tokens, columns=hidden)
    net.lm_head.weight = net.model.embed_tokens.weight
    choose(net.model.norm, rows=hidden)
    for layer in net.model.layers:
        inner = torch.randperm(net.config.intermediate_size, generator=generator)
        attention, mlp = layer.self_attn, layer.mlp
        choose(layer.input_layernorm, rows=hidden)
        choose(layer.post_attention_layernorm, rows=hidden)
        for reading in (attention.q_proj, attention.k_proj, attention.v_proj):
            choose(reading, columns=hidden)
        choose(attention.o_proj, rows=hidden)
        choose(mlp.gate_proj, rows=inner, columns=hidden)
        choose(mlp.up_proj, rows=inner, columns=hidden)
        choose(mlp.down_proj, rows=hidden, columns=inner)
    return net


def choose(module: Any, *, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
    """Reorder a module's weight in place."""
    weight = module.weight.data
    weight = weight if rows is None else weight[rows]
    module.weight.data = weight.contiguous() if columns is None else weight[:, columns].contiguous()


def fine_tune(out: Path, base: Path, capitals: Path, name: str, seed: int) -> dict[str, Any]:
    """Train one adapter; a finished one is taken as it is."""
    settings = TrainSettings(**{**READING, **FINE_TUNE, **BASES[name], "seed": seed})
    folder = out / f"tuned-{name}-{seed}"
    follow(train(TrainRequest(base, str(capitals / "train.jsonl"), folder, settings)), f"{name}, seed {seed}")
    return {"base": name, "seed": seed, "adapter": folder / "adapter"}


def compare(base: Path, held_out: Path, tuned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give held-out losses by base, their mean and spread, and the mean difference to the exact base seed by seed."""
    examples = read_examples(base, held_out)
    losses: dict[str, list[float]] = {name: [] for name in BASES}
    for one in tuned:
        net = load_network(base)
        net = rounded(net, one["base"], BLOCKS[0]) if one["base"] in CODES else net
        losses[one["base"]].append(loss_of(load_adapter(net, one["adapter"]), examples))
    before = loss_of(load_network(base), examples)
    rows = []
    for name, values in losses.items():
        apart = [value - exact for value, exact in zip(values, losses["exact"], strict=True)]
        rows.append(
            {
                "fine-tuned on": name,
                "loss before": round(before, 4),
                **{f"seed {seed}": round(value, 4) for seed, value in enumerate(values)},
                "mean": round(statistics.mean(values), 4),
                "spread": round(statistics.stdev(values), 4) if len(values) > 1 else 0.0,
                "to exact": round(statistics.mean(apart), 4),
            }
        )
    return rows


def read_examples(base: Path, file: Path) -> list[Example]:
    """Read held-out rows."""
    settings = DataSettings(max_length=WINDOW, loss_on="all")
    return list(encode(read_rows(str(file)), read_tokenizer(base), settings))


def loss_of(net: nn.Module, examples: list[Example]) -> float:
    """Give the mean loss a token, natural logarithm."""
    return held_out_loss(LanguageModel(net), examples, batch_size=READING["batch_size"], pad_id=0)


def follow(job: Job, what: str) -> dict[str, Any]:
    """Run a job to its end, showing a line now and then."""

    def shown() -> Job:
        for event in job:
            if isinstance(event, Progress) and event.done % 100 == 0:
                print(f"{what}: {event.done}/{event.total} {event.unit}", file=sys.stderr, flush=True)
            yield event

    return result_of(shown())


if __name__ == "__main__":
    main(sys.argv[1:])
