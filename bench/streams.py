"""Sixteen answers at once against the same sixteen one after another, on one engine.

Every prompt is another sentence, so that nothing is shared but the beginning of the chat format; every answer is drawn
with its own seed and must be the same text both ways. The sides take turns; the table gives medians.

    python bench/streams.py [--rounds 3] [--threads 2 1] [--model smollm2] [--json rows.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _table import print_table

CLIENTS, TOKENS = 16, 64
THINGS = ["rudder", "keel", "anchor", "mast", "sail", "hull", "deck", "bow", "stern", "compass", "chart", "tide"]
COLUMNS = ("what", "threads", "one by one", "together", "ratio", "same texts", "goal")


def main(argv: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="*", default=[2, 1])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    rows = measure(given.model, given.threads, given.rounds)
    print_table(rows, COLUMNS)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if not all(row["same texts"] for row in rows):
        raise SystemExit("an answer depends on what was written beside it")


def measure(model: str, threads: list[int], rounds: int) -> list[dict[str, Any]]:
    """Give a row for each number of threads."""
    import torch

    from trimtab.core.job import result_of
    from trimtab.models.decoders import load_decoder
    from trimtab.models.quantize_folder import quantize_folder
    from trimtab.models.tokenizer import read_tokenizer
    from trimtab.store.resolve import resolve
    from trimtab.text.engine import Engine, Request, Sampling

    source = resolve(model)
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as temporary:
        result_of(quantize_folder(source, Path(temporary) / "nf4"))
        decoder = load_decoder(Path(temporary) / "nf4")
    tokenizer = read_tokenizer(source)
    requests = [
        Request(prompt(tokenizer, index), Sampling(max_tokens=TOKENS, temperature=1.0, top_k=40, seed=index))
        for index in range(CLIENTS)
    ]
    rows = []
    for count in threads:
        torch.set_num_threads(count)
        seen: dict[str, list[float]] = {"alone": [], "together": []}
        texts: list[list[str]] = []
        for _ in range(rounds):
            began = time.perf_counter()
            texts.append([Engine(decoder, tokenizer).run_all([request])[0].text for request in requests])
            seen["alone"].append(time.perf_counter() - began)
            began = time.perf_counter()
            answers = Engine(decoder, tokenizer, batch=CLIENTS).run_all(requests)
            seen["together"].append(time.perf_counter() - began)
            texts.append([answer.text for answer in answers])
            written = sum(len(answer.tokens) for answer in answers)
        alone, together = (statistics.median(times) for times in seen.values())
        rows.append(
            {
                "what": f"{CLIENTS} answers, tokens/s",
                "threads": count,
                "one by one": round(written / alone, 1),
                "together": round(written / together, 1),
                "ratio": round(alone / together, 2),
                "same texts": all(each == texts[0] for each in texts),
                "goal": ">= 3",
            }
        )
    return rows


def prompt(tokenizer: Any, index: int) -> tuple[int, ...]:
    """Ask another question for every client."""
    thing = THINGS[index % len(THINGS)]
    words = f"{index + 1}. Tell me in some sentences what the {thing} of a ship is for."
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": words}], tokenize=False, add_generation_prompt=True
    )
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)


if __name__ == "__main__":
    main(sys.argv[1:])
