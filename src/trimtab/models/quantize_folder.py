"""Quantizing a model folder shard by shard, whatever its size, into what transformers + bitsandbytes load."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from trimtab.core.errors import FormatError, RangeError, did_you_mean
from trimtab.core.job import Job, Note, Progress, Result, Saved, Started
from trimtab.models.config import CONFIG_NAME, read_model_config
from trimtab.models.names import stored_names
from trimtab.models.save import copy_tokenizer
from trimtab.models.skeleton import skeleton
from trimtab.nn.experts import expert_stacks
from trimtab.nn.linear import linear_names
from trimtab.quant import Kind, QuantizedWeight, quantize, refuse_non_finite
from trimtab.store.bitsandbytes import SAVED_KINDS, quantization_config, to_tensors
from trimtab.store.cards import Card, read_card, write_card
from trimtab.store.durable import hash_file, write_bytes
from trimtab.store.safetensors import INDEX_NAME, SINGLE_NAME, TensorFile, checkpoint_files, names_in_file_order

PLAN_NAME: Final = "quantize.json"


def quantize_folder(source: Path, out: Path, *, kind: str = "nf4", block_size: int = 64, double: bool = True) -> Job:
    """Write a quantized copy of a model folder; one output file per input file.

    At most one dense tensor and one output file are in memory. Finished files stay if the work is stopped; the
    same call goes on behind them.

    Args:
        source: folder with safetensors weights that are not quantized yet.
        out: folder to write; a finished one is refused.
        kind: "nf4", "fp4" or "int8".
        block_size: weights per scale.
        double: quantize the scales too.

    Raises:
        RangeError: the kind or block size is not allowed, the source is quantized already, or the network holds
            fused experts, which this file layout cannot express.
        NonFiniteError: a weight is NaN or infinite; the message names it.
    """
    if kind not in SAVED_KINDS:
        raise RangeError(f"--type {kind}: {did_you_mean(kind, SAVED_KINDS)}")
    yield Started(f"quantizing {source.name} to {kind}", str(out))
    work = _Work(source, out, kind, block_size, double)
    files = work.files
    for index, file in enumerate(files, start=1):
        if work.is_done(file):
            yield Note(f"{file.name} was finished before.")
            continue
        yield from work.convert(file, f"file {index} of {len(files)}")
    work.finish()
    yield Saved("model", str(out))
    yield Result(work.result())


class _Work:
    """One conversion: its plan, and what is finished so far."""

    def __init__(self, source: Path, out: Path, kind: Kind, block_size: int, double: bool) -> None:
        self.source, self.out, self.kind, self.block_size = source, out, kind, block_size
        self.double = double and kind != "int8"
        self.config = read_model_config(source)
        if "quantization_config" in self.config:
            raise RangeError(f"{source} is quantized already. Give the folder of the original model.")
        if (out / CONFIG_NAME).exists():
            raise RangeError(f"{out} holds a finished model. Choose another --out.")
        net = skeleton(source)
        self._refuse_experts(net)
        located = checkpoint_files(source)
        self.files = sorted(set(located.values()))
        names = stored_names(net, located)
        linears = [f"{name}.weight" for name in linear_names(net) if not _kept_dense(net, name)]
        unknown = sorted(set(linears) - names.keys())
        if unknown:
            raise FormatError(source, f"has no weight {unknown[0]}", remedy="Fetch or convert the model again.")
        self.linears = {names[name] for name in linears}
        self.done: dict[str, Any] = self._take_up()

    def is_done(self, file: Path) -> bool:
        """Tell whether a file was finished by an earlier call and is still what it was."""
        entry, target = self.done["files"].get(file.name), self.out / file.name
        return bool(entry) and target.is_file() and hash_file(target).sha256 == entry["sha256"]

    def convert(self, file: Path, what: str) -> Iterator[Progress]:
        """Convert one file."""
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        opened = TensorFile(file)
        names = list(names_in_file_order(file))
        before = changed = 0
        for done, name in enumerate(names, start=1):
            tensor = opened.load(name)
            before += tensor.nbytes
            if name in self.linears:
                tensors |= to_tensors(name, self._quantize(f"{file}: {name}", tensor))
                changed += 1
            else:
                if tensor.is_floating_point():
                    refuse_non_finite(tensor, f"{file}: {name}")
                tensors[name] = tensor
            yield Progress(what, done, len(names), "tensors")
        target, partial = self.out / file.name, self.out / f".{file.name}.partial"
        save_file(tensors, str(partial), metadata={"format": "pt"})
        partial.replace(target)
        after = sum(tensor.nbytes for tensor in tensors.values())
        written = hash_file(target)
        self.done["files"][file.name] = {
            "sha256": written.sha256,
            "bytes_before": before,
            "bytes_after": after,
            "quantized": changed,
            "names": sorted(tensors),
        }
        write_bytes(self.out / PLAN_NAME, json.dumps(self.done).encode())

    def _quantize(self, name: str, tensor: Tensor) -> QuantizedWeight:
        """Quantize one weight; rows of 8 bits are counted from float16, as bitsandbytes writes them."""
        if self.kind == "int8" and bool(tensor.abs().amax() <= torch.finfo(torch.float16).max):
            tensor = tensor.half()
        return quantize(tensor, kind=self.kind, block_size=self.block_size, double=self.double, name=name)

    def finish(self) -> None:
        """Write the index, tokenizer, card and, last of all, the config that makes it a model."""
        if self.files != [self.source / SINGLE_NAME]:
            weight_map = {name: file for file, entry in self.done["files"].items() for name in entry["names"]}
            total = sum(entry["bytes_after"] for entry in self.done["files"].values())
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            write_bytes(self.out / INDEX_NAME, json.dumps(index, indent=2).encode())
        copy_tokenizer(self.source, self.out)
        card = read_card(self.source)
        if card is not None:
            write_card(
                self.out, Card(self.out.name, card.family, card.source, card.licence, card.sha256, card.note, card.name)
            )
        config = self.config | {"quantization_config": quantization_config(self.kind, double=self.double)}
        write_bytes(self.out / CONFIG_NAME, json.dumps(config, indent=2).encode())
        (self.out / PLAN_NAME).unlink()

    def result(self) -> dict[str, Any]:
        """Sum up."""
        entries = self.done["files"].values()
        return {
            "out": str(self.out),
            "bytes_before": sum(entry["bytes_before"] for entry in entries),
            "bytes_after": sum(entry["bytes_after"] for entry in entries),
            "tensors": sum(entry["quantized"] for entry in entries),
        }

    def _refuse_experts(self, net: nn.Module) -> None:
        stacks = expert_stacks(net)
        if stacks:
            raise RangeError(
                f"{stacks[0]} (and {len(stacks) - 1} more) is a stack of experts, which this file layout cannot hold. "
                "trimtab train quantizes experts in memory: use it on the original folder."
            )

    def _take_up(self) -> dict[str, Any]:
        plan = {
            "source": str(self.source.resolve()),
            "kind": self.kind,
            "block_size": self.block_size,
            "double": self.double,
            "sizes": {file.name: file.stat().st_size for file in self.files},
            "files": {},
        }
        path = self.out / PLAN_NAME
        if path.is_file():
            try:
                begun = json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, RecursionError):
                begun = {}
            if isinstance(begun, dict) and {**begun, "files": {}} == plan:
                return begun
            raise RangeError(
                f"{self.out} holds another conversion that is not finished. Remove it or choose another --out."
            )
        self.out.mkdir(parents=True, exist_ok=True)
        write_bytes(path, json.dumps(plan).encode())
        return plan


def _kept_dense(net: nn.Module, name: str) -> bool:
    """Tell whether transformers keeps a layer in 32 bits (T5's ``wo``), and so expects it dense in the folder."""
    kept = set(getattr(net, "_keep_in_fp32_modules", None) or ())
    return not kept.isdisjoint(name.split("."))
