"""Batch-1 decoding and prompt reading: trimtab's decoder against transformers + bitsandbytes and llama.cpp.

Each side runs in a process of its own, the sides taking turns, and writes greedily after a prompt of 32 tokens; the
table gives medians. All sides have 4-bit weights: trimtab and bitsandbytes the same NF4 folder (double quantization,
float32 compute), llama.cpp its own file: for SmolLM2 the one the model came in (Q4_1), for the 1.1-billion-parameter
shape with random weights a Q4_0 that its own tool makes. "bus" is the time to read every byte that a token needs once,
at the bandwidth measured in the same round. Prompt reading is compared with transformers on float32 weights as well.
For each form of the output head a second table states what it changes in the logits of a real text.

    python bench/decode.py [--rounds 3] [--threads 2 1] [--models smollm2 1.1b] [--json rows.json]

Needs llama-cpp-python (`make bench` builds it). The larger shape takes 7 GB of disk and some minutes to make.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _process import printed_by
from _table import print_table
from _text import plays
from load import gguf_file

PROMPT, LONG = 32, 512
SIDES = ("trimtab", "trimtab exact", "bitsandbytes", "llama.cpp", "float32", "bus")
STEPS = {"trimtab": 64, "trimtab exact": 32, "bitsandbytes": 8, "llama.cpp": 64, "float32": 8, "bus": 8}
DECODE_GOALS = {
    "smollm2": {"bitsandbytes": ">= 10", "llama.cpp": ">= 1.0, stretch 1.5", "bus": "stretch <= 2"},
    "1.1b": {"bitsandbytes": ">= 20", "llama.cpp": ">= 1.0", "bus": "<= 1.5"},
}
PREFILL_GOALS = {"float32": ">= 1.0", "llama.cpp": ">= 1.5", "bitsandbytes": ""}
SHAPE = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
COLUMNS = ("model", "what", "threads", "ours", "peer", "theirs", "ratio", "goal")
HEAD_COLUMNS = ("head", "MB", "rms difference of logits, relative", "largest", "same likeliest token")
BUFFER_FLOATS = 64 << 20
TEXT_TOKENS = 512


def main(argv: list[str]) -> None:
    """Run every side in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="*", default=[2, 1])
    parser.add_argument("--models", nargs="*", choices=list(DECODE_GOALS), default=list(DECODE_GOALS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--files", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.side:
        print(json.dumps(measure(given.side, given.files, given.threads[0])))
        return
    rows: list[dict[str, Any]] = []
    heads: list[dict[str, Any]] = []
    for model in given.models:
        with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as temporary:
            files = make_files(model, Path(temporary))
            for threads in given.threads:
                rows += compare(model, files, threads, given.rounds)
            if model == "smollm2":
                heads = compare_heads(files)
    print_table(rows, COLUMNS)
    print_table(heads, HEAD_COLUMNS)
    rows += heads
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def make_files(model: str, folder: Path) -> Path:
    """Make ``dense`` and ``nf4`` folders and ``model.gguf``."""
    from trimtab.core.job import result_of
    from trimtab.models.quantize_folder import quantize_folder
    from trimtab.store.resolve import resolve

    small = resolve("smollm2")
    if model == "smollm2":
        (folder / "dense").symlink_to(small)
        (folder / "model.gguf").symlink_to(gguf_file(model, folder))
    else:
        random_llama(small, folder / "dense")
        quantized_by_llama_cpp(folder / "dense", folder)
    result_of(quantize_folder(folder / "dense", folder / "nf4"))
    return folder


def random_llama(tokenizer: Path, folder: Path) -> None:
    """Write a model of 1.1 billion random weights in 16 bits, with another model's tokenizer."""
    import shutil

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    vocabulary = json.loads((tokenizer / "config.json").read_text())["vocab_size"]
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(LlamaConfig(**SHAPE, vocab_size=vocabulary)).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)
    for file in tokenizer.glob("tokenizer*"):
        shutil.copy(file, folder)


def quantized_by_llama_cpp(dense: Path, folder: Path) -> None:
    """Export a model and let llama.cpp's own tool bring it to 4 bits."""
    import llama_cpp

    from trimtab.core.job import result_of
    from trimtab.models.export import export_model

    whole = folder / "whole.gguf"
    result_of(export_model(dense, whole, form="gguf", dtype="f16"))
    silence = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silence, None)  # it has hundreds of lines to say
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype, options.nthread = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, 2
    failed = llama_cpp.llama_model_quantize(str(whole).encode(), str(folder / "model.gguf").encode(), options)
    whole.unlink()
    if failed:
        raise SystemExit("llama.cpp could not quantize the exported file")


def compare(model: str, files: Path, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Give the rows of one model."""
    seen: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            words = ("--side", side, "--files", files, "--threads", threads)
            seen[side].append(printed_by(__file__, *words))
    middle = {
        side: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for side, runs in seen.items()
    }
    ours, rows = middle["trimtab"], []

    def row(what: str, peer: str, mine: float, theirs: float, ratio: float, goal: str) -> dict[str, Any]:
        shown = {"model": model, "what": what, "threads": threads, "ours": round(mine, 1), "peer": peer}
        return shown | {"theirs": round(theirs, 1), "ratio": round(ratio, 2), "goal": goal}

    for peer, goal in DECODE_GOALS[model].items():
        mine, theirs = 1 / ours["token_s"], 1 / middle[peer]["token_s"]
        ratio = theirs / mine if peer == "bus" else mine / theirs
        rows.append(row("decode, tokens/s", peer, mine, theirs, ratio, goal))
    exact = 1 / middle["trimtab exact"]["token_s"]
    peer_rate = 1 / middle["bitsandbytes"]["token_s"]
    rows.append(row("decode in exact float32, tokens/s", "bitsandbytes", exact, peer_rate, exact / peer_rate, ""))
    for peer, goal in PREFILL_GOALS.items():
        mine, theirs = LONG / ours["prefill_s"], LONG / middle[peer]["prefill_s"]
        rows.append(row("prefill of 512, tokens/s", peer, mine, theirs, mine / theirs, goal))
    return rows


def middle_of(runs: list[dict[str, float]], key: str) -> float:
    """Give the median of one figure over the rounds."""
    return statistics.median(run[key] for run in runs)


def measure(side: str, files: Path, threads: int) -> dict[str, float]:
    """Time one side: a token after a short prompt, and a prompt of 512 tokens."""
    import torch

    torch.set_num_threads(threads)
    if side == "bus":
        return {"token_s": bytes_a_token(files) / bandwidth(), "prefill_s": float("nan")}
    makers = {"bitsandbytes": transformers_side, "float32": transformers_side, "llama.cpp": llama_cpp_side}
    read = makers.get(side, trimtab_side)(side, files, threads)
    ids = torch.randint(1000, 40000, (LONG,), generator=torch.Generator().manual_seed(0)).tolist()
    read(ids[:PROMPT], True)
    prefill = []
    for _ in range(2):
        began = time.perf_counter()
        read(ids, True)
        prefill.append(time.perf_counter() - began)
    token, times = read(ids[:PROMPT], True), []
    for _ in range(STEPS[side]):
        began = time.perf_counter()
        token = read([token], False)
        times.append(time.perf_counter() - began)
    return {"token_s": statistics.median(times), "prefill_s": min(prefill)}


Reader = Callable[[list[int], bool], int]
"""Reads tokens, after forgetting everything if told so, and gives the likeliest next one."""


def trimtab_side(side: str, files: Path, _threads: int) -> Reader:
    """Ours."""
    from trimtab.models.decoder import Read
    from trimtab.models.decoders import load_decoder

    decoder = load_decoder(files / "nf4", exact=side.endswith("exact"))
    kept = [decoder.start()]

    def read(tokens: list[int], afresh: bool) -> int:
        if afresh:
            kept.pop().close()
            kept.append(decoder.start())
        return int(decoder.read([Read(kept[0], tuple(tokens), written=not afresh)])[0][-1].argmax())

    return read


def transformers_side(side: str, files: Path, _threads: int) -> Reader:
    """Transformers, on the NF4 folder through bitsandbytes or on float32 weights."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = files / ("nf4" if side == "bitsandbytes" else "dense")
    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    kept: list[Any] = [None]

    @torch.no_grad()
    def read(tokens: list[int], afresh: bool) -> int:
        past = None if afresh else kept[0]
        out = net(torch.tensor([tokens]), past_key_values=past, use_cache=True, logits_to_keep=1)
        kept[0] = out.past_key_values
        return int(out.logits[0, -1].argmax())

    return read


def llama_cpp_side(_side: str, files: Path, threads: int) -> Reader:
    """The llama.cpp library at its usual settings, as many threads."""
    import ctypes

    import llama_cpp
    import torch

    model = llama_cpp.Llama(
        str(files / "model.gguf"), n_ctx=1024, n_batch=LONG, n_threads=threads, n_threads_batch=threads, verbose=False
    )

    def read(tokens: list[int], afresh: bool) -> int:
        if afresh:
            model.reset()
        model.eval(tokens)
        logits = llama_cpp.llama_get_logits_ith(model.ctx, -1)
        address = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float * model.n_vocab())).contents
        return int(torch.frombuffer(address, dtype=torch.float32).argmax())

    return read


def compare_heads(files: Path) -> list[dict[str, Any]]:
    """Say what each form of the output head changes, everything else being exact."""
    import torch

    from trimtab.models.decoder import Read
    from trimtab.models.llama.decoder import LlamaDecoder
    from trimtab.models.load import load_network
    from trimtab.models.tokenizer import read_tokenizer

    text = plays()[: 8 * TEXT_TOKENS]
    ids = tuple(read_tokenizer(files / "nf4")(text).input_ids[:TEXT_TOKENS])
    net: Any = load_network(files / "nf4")
    weights = net.lm_head.weight.numel()
    rows, exact = [], torch.empty(0)
    for head, bits in (("stored", 32.0), ("int8", 9.0), ("nf4", 4.127)):
        decoder = LlamaDecoder(net, head=head)
        (logits,) = decoder.read([Read(decoder.start(), ids, "all")])
        exact = logits if head == "stored" else exact
        rows.append(
            {
                "head": head,
                "MB": round(weights * bits / 8e6, 1),
                "rms difference of logits, relative": f"{float((logits - exact).norm() / exact.norm()):.6f}",
                "largest": f"{float((logits - exact).abs().max()):.4f}",
                "same likeliest token": f"{float((logits.argmax(1) == exact.argmax(1)).float().mean()):.3f}",
            }
        )
    return rows


def bytes_a_token(files: Path) -> int:
    """Count what a token must read: the codes and scales of all linear layers, and a head of 8 bits."""
    from trimtab.models.load import load_network
    from trimtab.nn.linear import QuantizedLinear

    net: Any = load_network(files / "nf4")
    layers = [module for module in net.modules() if isinstance(module, QuantizedLinear)]
    linear = sum(part.nbytes for layer in layers for part in layer.buffers())
    return int(linear + net.lm_head.weight.numel() * (1 + 4 / 32))


def bandwidth() -> float:
    """Give the bytes a second at which these threads read memory, the best of several passes over 256 MB."""
    import torch

    values = torch.ones(BUFFER_FLOATS)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        values.sum()
        times.append(time.perf_counter() - began)
    return values.nbytes / min(times)


if __name__ == "__main__":
    main(sys.argv[1:])
