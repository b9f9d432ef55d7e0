"""Twelve answers over one shared prompt: one by one, batched without sharing, and through the engine, which shares.

A prompt of 340 tokens, twelve endings of 8 tokens, 6 tokens written greedily behind each: the shape of one level of a
tree search. All three run on the same decoder; the first two read every prompt in full, alone or all in one pass. The
sides take turns; the table gives medians, and what does not depend on the machine: the tokens each side read.

    python bench/branches.py [--rounds 5] [--threads 2] [--model smollm2] [--dense] [--json rows.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from _table import print_table
from _text import plays
from trimtab.models.decoder import Decoder, Read, State
from trimtab.models.decoders import load_decoder
from trimtab.models.load import Quantization
from trimtab.models.tokenizer import read_tokenizer
from trimtab.store.resolve import resolve
from trimtab.text.engine import Engine, Request, Sampling

BRANCHES, SHARED, ENDING, WRITTEN = 12, 340, 8, 6
COLUMNS = ("side", "seconds", "against shared", "goal", "prompt tokens read", "reused", "same tokens")
GOALS = {"one by one": ">= 5", "batched": ">= 3.5", "shared": ""}
Tokens = list[list[int]]
Counts = tuple[int, int]


def main(argv: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dense", action="store_true", help="weights as stored instead of NF4")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    torch.set_num_threads(given.threads)
    folder = resolve(given.model)
    tokenizer = read_tokenizer(folder)
    decoder = load_decoder(folder, quantization=None if given.dense else Quantization())
    print(f"{given.model} on {type(decoder).__name__}, {given.threads} threads")
    rows = compare(decoder, tokenizer, given.rounds)
    print_table(rows, COLUMNS)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def compare(decoder: Decoder, tokenizer: Any, rounds: int) -> list[dict[str, Any]]:
    """Let the sides take turns; give a row for each."""
    prompts = branches(tokenizer)
    sides: dict[str, Callable[[], tuple[Tokens, Counts]]] = {
        "one by one": lambda: one_by_one(decoder, prompts),
        "batched": lambda: batched(decoder, prompts),
        "shared": lambda: shared(decoder, tokenizer, prompts),
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    results: dict[str, tuple[Tokens, Counts]] = {}
    for _ in range(rounds + 1):
        for side, run in sides.items():
            began = time.perf_counter()
            results[side] = run()
            seconds[side].append(time.perf_counter() - began)
    medians = {side: statistics.median(values[1:]) for side, values in seconds.items()}  # the first warms up
    return [
        {
            "side": side,
            "seconds": round(medians[side], 3),
            "against shared": round(medians[side] / medians["shared"], 2),
            "goal": GOALS[side],
            "prompt tokens read": counts[0],
            "reused": counts[1],
            "same tokens": tokens == results["one by one"][0],
        }
        for side, (tokens, counts) in results.items()
    ]


def branches(tokenizer: Any) -> list[tuple[int, ...]]:
    """Cut the prompts out of a play."""
    ids: list[int] = tokenizer(plays()[:20_000], add_special_tokens=False).input_ids
    endings = [ids[SHARED + n * ENDING : SHARED + (n + 1) * ENDING] for n in range(BRANCHES)]
    return [(*ids[:SHARED], *ending) for ending in endings]


def one_by_one(decoder: Decoder, prompts: Sequence[tuple[int, ...]]) -> tuple[Tokens, Counts]:
    """Read and write each by itself."""
    return [tokens for prompt in prompts for tokens in write(decoder, [prompt])], (sum(map(len, prompts)), 0)


def batched(decoder: Decoder, prompts: Sequence[tuple[int, ...]]) -> tuple[Tokens, Counts]:
    """Read and write all in common passes, each with its own copy of the prompt."""
    return write(decoder, prompts), (sum(map(len, prompts)), 0)


def shared(decoder: Decoder, tokenizer: Any, prompts: Sequence[tuple[int, ...]]) -> tuple[Tokens, Counts]:
    """Hand all to an engine that knows nothing yet."""
    engine = Engine(decoder, tokenizer, ends=(), chunk=SHARED + ENDING)
    answers = engine.run_all([Request(prompt, Sampling(WRITTEN)) for prompt in prompts])
    return [list(answer.tokens) for answer in answers], (engine.counters.prefilled, engine.counters.reused)


def write(decoder: Decoder, prompts: Sequence[tuple[int, ...]]) -> Tokens:
    """Continue prompts greedily, in common passes."""
    states: list[State] = [decoder.start() for _ in prompts]
    written: Tokens = [[] for _ in prompts]
    unread: list[tuple[int, ...]] = list(prompts)
    for _ in range(WRITTEN):
        logits = decoder.read([Read(state, tokens) for state, tokens in zip(states, unread, strict=True)])
        for mine, row in zip(written, logits, strict=True):
            mine.append(int(row[0].argmax()))
        unread = [(mine[-1],) for mine in written]
    for state in states:
        state.close()
    return written


if __name__ == "__main__":
    main()
