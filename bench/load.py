"""What it takes to begin: loading the converted model, `trimtab --help`, and building the C part.

Times are processor seconds of a fresh process, the median of several, so that other work on the machine counts little;
the sides take turns. The peer of loading is the GGUF file of the same model through transformers, tokenizer included.

    python bench/load.py [--rounds 3] [--model smollm2] [--json rows.json]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _table import print_table

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("what", "ours", "peer", "theirs", "goal")
OURS = """
import time
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from trimtab.models.load import load_network
from trimtab.models.tokenizer import read_tokenizer
from trimtab.store.resolve import resolve
began = time.process_time()
folder = resolve({model!r})
load_network(folder), read_tokenizer(folder)
print(time.process_time() - began)
"""
THEIRS = """
import time
import gguf
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast
began = time.process_time()
AutoModelForCausalLM.from_pretrained({folder!r}, gguf_file={file!r})
AutoTokenizer.from_pretrained({folder!r}, gguf_file={file!r})
print(time.process_time() - began)
"""


def main(argv: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as temporary:
        rows = measure(Path(temporary), given.model, given.rounds)
    print_table(rows, COLUMNS)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


def measure(temporary: Path, model: str, rounds: int) -> list[dict[str, Any]]:
    """Give a row for each thing that is waited for."""
    file = gguf_file(model, temporary)
    commands = {
        "ours": [sys.executable, "-c", OURS.format(model=model)],
        "theirs": [sys.executable, "-c", THEIRS.format(folder=str(file.parent), file=file.name)],
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(processor_seconds(command))
    printed, whole = ({name: median(pairs, at) for name, pairs in runs.items()} for at in (0, 1))
    peer = "GGUF through transformers"
    return [
        row(
            "load model and tokenizer, libraries imported", printed["ours"], "<= 3", peer=peer, theirs=printed["theirs"]
        ),
        row("the same from the start of Python", whole["ours"], "", peer=peer, theirs=whole["theirs"]),
        row("trimtab --help", help_seconds(rounds), "<= 0.4"),
        row("import trimtab", import_seconds(rounds), "<= 0.1"),
        row("build of the C part", build_seconds(temporary / "build"), "<= 5"),
    ]


def row(what: str, ours: float, goal: str, *, peer: str = "", theirs: float | None = None) -> dict[str, Any]:
    """Give one row, in processor seconds."""
    return {
        "what": what,
        "ours": round(ours, 3),
        "peer": peer,
        "theirs": "" if theirs is None else round(theirs, 2),
        "goal": goal,
    }


def gguf_file(model: str, temporary: Path) -> Path:
    """Fetch the file that the model was converted from, into a folder of its own; its hash is checked."""
    from trimtab.store.catalogue import CATALOGUE
    from trimtab.store.fetching import fetch_files

    folder = temporary / "fetched"
    folder.mkdir()
    return fetch_files(CATALOGUE[model], folder)[0]


def processor_seconds(command: list[str]) -> tuple[float, float]:
    """Run a command; give the number it prints, and the processor time of all of it."""
    before = children_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    lines = done.stdout.split()
    return float(lines[-1]) if lines else 0.0, children_seconds() - before


def children_seconds() -> float:
    """Give the processor time of finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def median(pairs: list[tuple[float, float]], at: int) -> float:
    """Give the median of one column."""
    return statistics.median(pair[at] for pair in pairs)


def help_seconds(rounds: int) -> float:
    """Time the help page, start of Python included."""
    command = [sys.executable, "-m", "trimtab.cli.main", "--help"]
    return statistics.median(silent_seconds(command) for _ in range(2 * rounds + 1))


def import_seconds(rounds: int) -> float:
    """Time the import alone."""
    code = "import time; a = time.process_time(); import trimtab; print(time.process_time() - a)"
    return statistics.median(processor_seconds([sys.executable, "-c", code])[0] for _ in range(2 * rounds + 1))


def build_seconds(folder: Path) -> float:
    """Time a build of the extension into an empty folder, as setuptools does it."""
    command = [
        sys.executable,
        "setup.py",
        "--quiet",
        "build_ext",
        "--build-lib",
        str(folder),
        "--build-temp",
        str(folder),
    ]
    return silent_seconds(command)


def silent_seconds(command: list[str]) -> float:
    """Run a command whose output does not matter; give its processor time."""
    before = children_seconds()
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return children_seconds() - before


if __name__ == "__main__":
    main(sys.argv[1:])
