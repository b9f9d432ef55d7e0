"""What `trimtab export --format gguf` writes, loaded by llama.cpp: tokens, logits and text against transformers.

Each file is written by the command's own job, F16 and Q8_0, bare and with an adapter folded in, and read by llama.cpp
with its usual settings. The peer is the network of transformers with the weights that are in the file (decoded to
32 bits), so that what differs is llama.cpp's arithmetic: it rounds what enters a product to 16 bits, and to 8 where
the weights have 8. A second column compares with the model before export, so that it shows what the file type costs.

    python bench/gguf_in_llama_cpp.py [--model smollm2] [--json rows.json]

Needs llama-cpp-python (`make bench` builds it). Leaves with an error where a file does not load, a prompt has other
tokens, or the likeliest token differs too often.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from _table import print_table
from _text import plays
from trimtab.core.job import result_of
from trimtab.models.export import GGUF_TYPES, export_model
from trimtab.models.load import load_network
from trimtab.models.tokenizer import read_tokenizer
from trimtab.nn.lora import LoraSettings, add_lora, lora_layers
from trimtab.store.adapter import load_adapter, save_adapter
from trimtab.store.importing import import_gguf
from trimtab.store.resolve import resolve

PROMPTS = (
    "The trim tab is the small flap that turns a ship's rudder.",
    "naïve café, 東京, 🙂👍🏽 and „Zitate“ — done",
    "  two  spaces\n\n\ta tab, 1234567890 and 3.14e-10\r\n",
    "<|im_start|>user\nWhat is a rudder?<|im_end|>\n<|im_start|>assistant\n",
    "def f(x):\n    return x**2  # it's they'll I'M\n",
    "½ ² ٣٤ १२ \u00a0\u2003\ufeff \x00 end",
    "<|endoftext|><|im_end|> <|im_start|>",
)
ASKED = 3  # the prompt that is answered
POSITIONS, CHARACTERS = 256, 4096
ANSWER_TOKENS = 32
LEAST_AGREEMENT = {"f16": 0.98, "q8_0": 0.90}
ADAPTER_STRENGTH = 0.06
COLUMNS = (
    "file",
    "adapter",
    "MB",
    "prompts with equal tokens",
    "largest logit difference, last position",
    "rms difference, relative",
    "same likeliest token",
    "the same, to the model before export",
    "equal tokens of the answer",
)


@dataclass(frozen=True)
class Run:
    """What one side makes of the same ids.

    Attributes:
        logits: (positions, vocabulary).
        answer: ids, the likeliest token each.
    """

    logits: Tensor
    answer: list[int]


def main(argv: list[str]) -> None:
    """Export, load, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    folder = resolve(given.model)
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as temporary:
        adapters = {"": None, "rank 8": make_adapter(folder, Path(temporary) / "adapter")}
        rows = [
            compare(folder, Path(temporary) / f"{name or 'bare'}-{dtype}", dtype, name, adapter)
            for name, adapter in adapters.items()
            for dtype in GGUF_TYPES
        ]
    print_table(rows, COLUMNS)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    if poor := [row for row in rows if not is_good(row)]:
        sys.exit(f"{len(poor)} files are not what they should be: {', '.join(row['file'] for row in poor)}.")


def make_adapter(folder: Path, out: Path) -> Path:
    """Write an adapter that changes the network visibly."""
    torch.manual_seed(0)
    net = add_lora(load_network(folder), LoraSettings(rank=8, alpha=16))
    with torch.no_grad():
        for layer in lora_layers(net).values():
            for factor in layer.lora_B.values():
                factor.normal_(std=ADAPTER_STRENGTH)
    return save_adapter(net, out)


def compare(folder: Path, work: Path, dtype: str, name: str, adapter: Path | None) -> dict[str, Any]:
    """Give one row: a file written, loaded on both sides, and what each makes of the same text."""
    file = work / "model.gguf"
    result_of(export_model(folder, file, form="gguf", dtype=dtype, adapter=adapter))
    result_of(import_gguf(file, work / "decoded"))
    tokenizer = read_tokenizer(folder)
    ids, asked = running_text(tokenizer), token_ids(tokenizer, PROMPTS[ASKED])
    before = load_network(folder)
    source = in_transformers(before if adapter is None else load_adapter(before, adapter), ids, [])
    same = in_transformers(transformers_network(work / "decoded"), ids, asked)
    theirs, equal = in_llama_cpp(file, tokenizer, ids, asked)
    difference = theirs.logits - same.logits
    return {
        "file": dtype.upper(),
        "adapter": name or "none",
        "MB": round(file.stat().st_size / 1e6),
        "prompts with equal tokens": f"{equal} of {len(PROMPTS)}",
        "largest logit difference, last position": round(difference[-1].abs().max().item(), 4),
        "rms difference, relative": round((difference.square().mean() / same.logits.square().mean()).sqrt().item(), 5),
        "same likeliest token": agreement(theirs.logits, same.logits),
        "the same, to the model before export": agreement(theirs.logits, source.logits),
        "equal tokens of the answer": f"{equal_beginning(theirs.answer, same.answer)} of {len(same.answer)}",
    }


def is_good(row: dict[str, Any]) -> bool:
    """Tell whether a file does what it should."""
    tokens = row["prompts with equal tokens"] == f"{len(PROMPTS)} of {len(PROMPTS)}"
    shares = row["same likeliest token"], row["the same, to the model before export"]
    return tokens and min(shares) >= LEAST_AGREEMENT[row["file"].lower()]


def running_text(tokenizer: Any) -> list[int]:
    """Give the ids of a piece of real text."""
    text = plays()[:CHARACTERS]
    return token_ids(tokenizer, text)[:POSITIONS]


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Tokenize as transformers does, special tokens only where the text has them."""
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def transformers_network(folder: Path) -> nn.Module:
    """Load a folder with transformers alone."""
    from transformers import AutoModelForCausalLM

    net: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return net


@torch.no_grad()
def in_transformers(net: Any, ids: Sequence[int], asked: Sequence[int]) -> Run:
    """Read and answer with transformers; nothing is answered where nothing is asked."""
    logits = net(torch.tensor([ids])).logits[0]
    if not asked:
        return Run(logits, [])
    given = torch.tensor([asked])
    mask = torch.ones_like(given)
    written = net.generate(given, attention_mask=mask, max_new_tokens=ANSWER_TOKENS, do_sample=False)
    return Run(logits, written[0, len(asked) :].tolist())


def in_llama_cpp(file: Path, tokenizer: Any, ids: Sequence[int], asked: Sequence[int]) -> tuple[Run, int]:
    """Read and answer with llama.cpp; count the prompts that it cuts into the same tokens."""
    from llama_cpp import Llama

    llama = Llama(str(file), n_ctx=2 * POSITIONS, logits_all=True, verbose=False)
    try:
        cut = [list(llama.tokenize(text.encode(), add_bos=False, special=True)) for text in PROMPTS]
        llama.eval(ids)
        logits = torch.from_numpy(llama.scores[: len(ids)].copy())
        llama.reset()
        return Run(logits, answer(llama, asked)), sum(
            mine == token_ids(tokenizer, text) for mine, text in zip(cut, PROMPTS, strict=True)
        )
    finally:
        llama.close()


def answer(llama: Any, asked: Sequence[int]) -> list[int]:
    """Continue with the likeliest tokens, up to the end mark."""
    written: list[int] = []
    llama.eval(asked)
    while len(written) < ANSWER_TOKENS:
        written.append(int(llama.scores[llama.n_tokens - 1].argmax()))
        if written[-1] == llama.token_eos():
            break
        llama.eval(written[-1:])
    return written


def agreement(mine: Tensor, theirs: Tensor) -> float:
    """Give the share of positions with the same likeliest token."""
    return round((mine.argmax(-1) == theirs.argmax(-1)).float().mean().item(), 4)


def equal_beginning(mine: Sequence[int], theirs: Sequence[int]) -> int:
    """Count the tokens up to the first that differs."""
    pairs = enumerate(zip(mine, theirs, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(mine), len(theirs)))


if __name__ == "__main__":
    main(sys.argv[1:])
