"""How long a person waits for the first token: from the command to the first letter of the answer, wall time.

Every side is a fresh process that loads SmolLM2-135M-Instruct and answers one line; the sides take turns, and the table
gives medians. The files lie in the disk cache after a first round, which is not counted.

    python bench/first_token.py [--rounds 5] [--trimtab PATH] [--model smollm2] [--json rows.json]

--trimtab names the command of another environment: one without the extras answers sooner, since it has less to import.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from _table import print_table
from _waits import median_waits

COLUMNS = ("side", "seconds", "of them before the first line", "goal")
LINE = "What is a rudder?"
TRANSFORMERS = """
import sys
print("ready", flush=True)
from threading import Thread
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer
tokenizer, net = AutoTokenizer.from_pretrained({folder!r}), AutoModelForCausalLM.from_pretrained({folder!r})
asked = tokenizer.apply_chat_template([{{"role": "user", "content": {line!r}}}], add_generation_prompt=True,
                                      return_tensors="pt", return_dict=True)
streamer = TextIteratorStreamer(tokenizer, skip_prompt=True)
Thread(target=net.generate, kwargs=dict(asked, streamer=streamer, max_new_tokens=16, do_sample=False)).start()
for text in streamer:
    print(text, end="", flush=True)
"""
LLAMA_CPP = """
print("ready", flush=True)
from llama_cpp import Llama
model = Llama(model_path={file!r}, n_ctx=8192, verbose=False)
for piece in model.create_chat_completion([{{"role": "user", "content": {line!r}}}], stream=True, max_tokens=16):
    print(piece["choices"][0]["delta"].get("content") or "", end="", flush=True)
"""


def main(argv: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trimtab", default=shutil.which("trimtab", path=str(Path(sys.executable).parent)))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as temporary:
        rows = measure(commands(Path(temporary), given.trimtab, given.model), given.rounds)
    print_table(rows, COLUMNS)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


def commands(temporary: Path, trimtab: str, model: str) -> dict[str, list[str]]:
    """Give the command of each side."""
    from trimtab.store.catalogue import CATALOGUE
    from trimtab.store.fetching import fetch_files
    from trimtab.store.resolve import resolve

    file = fetch_files(CATALOGUE[model], temporary)[0]
    return {
        "trimtab chat": [trimtab, "chat", model],
        "llama.cpp": [sys.executable, "-c", LLAMA_CPP.format(file=str(file), line=LINE)],
        "transformers": [sys.executable, "-c", TRANSFORMERS.format(folder=str(resolve(model)), line=LINE)],
    }


def measure(sides: dict[str, list[str]], rounds: int) -> list[dict[str, Any]]:
    """Give a row for each side."""
    rows = []
    for side, (ready, first) in median_waits({side: partial(wait, sides[side]) for side in sides}, rounds).items():
        goal = "<= 5" if side == "trimtab chat" else ""
        rows.append(
            {"side": side, "seconds": round(first, 2), "of them before the first line": round(ready, 2), "goal": goal}
        )
    return rows


def wait(command: list[str]) -> tuple[float, float]:
    """Start a side and say one line; give the seconds to its first line of any kind, and to the answer's first letter.

    Raises:
        SystemExit: it ended without an answer.
    """
    began = time.perf_counter()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        process.stdin.write(f"{LINE}\n".encode())
        process.stdin.flush()
        process.stdout.readline()
        ready = time.perf_counter() - began
        letter = process.stdout.read(1)
        first = time.perf_counter() - began
        process.kill()
    if not letter:
        raise SystemExit(f"{' '.join(command[:3])} ended without an answer")
    return ready, first


if __name__ == "__main__":
    main(sys.argv[1:])
