"""Quantizing a folder: shard by shard, going on where it was stopped, and in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from trimtab.core.errors import FormatError, NonFiniteError, RangeError
from trimtab.core.job import Note, Progress, Saved, result_of
from trimtab.models.load import load_network
from trimtab.models.quantize_folder import PLAN_NAME, quantize_folder
from trimtab.store.cards import Card, read_card, write_card

MIB = 1 << 20


@pytest.fixture
def source(tmp_path) -> Path:
    return tiny.save(tiny.llama(), tmp_path / "source", shard_size="100KB")


def stopped_after(source: Path, out: Path, saved_files: int, **options) -> None:
    """Run the job until so many output files are written, then drop it."""
    job = quantize_folder(source, out, **options)
    for _ in job:
        if len(list(out.glob("*.safetensors"))) == saved_files:
            break
    job.close()


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors*")}


def test_the_result_counts_bytes_and_tensors(source, tmp_path):
    result = result_of(quantize_folder(source, tmp_path / "out"))
    assert result["tensors"] == 7 * tiny.LAYERS
    assert result["bytes_before"] == sum(p.numel() * 4 for p in tiny.llama().parameters())
    assert result["bytes_after"] < result["bytes_before"] / 2


def test_the_events_end_with_the_saved_model(source, tmp_path):
    events = list(quantize_folder(source, tmp_path / "out"))
    assert any(isinstance(event, Progress) for event in events)
    assert Saved("model", str(tmp_path / "out")) in events


def test_tokenizer_and_card_come_along(tmp_path):
    source = tiny.llama_folder(tmp_path / "source")
    write_card(source, Card("origin", "llama", "a wheel", "MIT", "0" * 64, "a note"))
    result_of(quantize_folder(source, tmp_path / "out"))
    card = read_card(tmp_path / "out")
    assert card is not None
    assert (card.name, card.parent, card.licence, card.note) == ("out", "origin", "MIT", "a note")
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("saved_files", [1, 2, 3])
def test_a_stopped_conversion_goes_on_to_the_same_bytes(source, tmp_path, saved_files):
    result_of(quantize_folder(source, tmp_path / "whole"))
    stopped_after(source, tmp_path / "out", saved_files)
    assert not (tmp_path / "out" / "config.json").exists()
    done = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.safetensors")}
    events = list(quantize_folder(source, tmp_path / "out"))
    assert sum(isinstance(event, Note) and "finished before" in event.text for event in events) >= saved_files - 1
    kept = [path for path, when in done.items() if path.stat().st_mtime_ns == when]
    assert len(kept) >= saved_files - 1
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert not (tmp_path / "out" / PLAN_NAME).exists()


def test_a_conversion_that_is_killed_goes_on_to_the_same_bytes(source, tmp_path):
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from trimtab.models.quantize_folder import quantize_folder\n"
        "for event in quantize_folder(Path(sys.argv[1]), Path(sys.argv[2])):\n"
        "    if len(list(Path(sys.argv[2]).glob('*.safetensors'))) == 2:\n"
        "        os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(source), str(tmp_path / "out")], capture_output=True)
    assert killed.returncode == -9
    result_of(quantize_folder(source, tmp_path / "out"))
    result_of(quantize_folder(source, tmp_path / "whole"))
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


def test_a_finished_file_that_was_damaged_since_is_made_again(source, tmp_path):
    result_of(quantize_folder(source, tmp_path / "whole"))
    stopped_after(source, tmp_path / "out", 3)
    victim = min((tmp_path / "out").glob("*.safetensors"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    result_of(quantize_folder(source, tmp_path / "out"))
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000], ids=["empty", "a list", "100,000 deep"])
def test_a_damaged_plan_of_a_conversion_is_not_built_upon(source, tmp_path, content):
    stopped_after(source, tmp_path / "out", 1)
    (tmp_path / "out" / PLAN_NAME).write_text(content)
    with pytest.raises(RangeError, match="another conversion"):
        result_of(quantize_folder(source, tmp_path / "out"))


@pytest.mark.parametrize("changed", [{"kind": "fp4"}, {"block_size": 128}, {"double": False}], ids=str)
def test_a_stopped_conversion_is_not_continued_with_other_settings(source, tmp_path, changed):
    stopped_after(source, tmp_path / "out", 1)
    with pytest.raises(RangeError, match="another conversion"):
        result_of(quantize_folder(source, tmp_path / "out", **changed))


def test_a_stopped_conversion_of_another_model_is_not_continued(source, tmp_path):
    stopped_after(source, tmp_path / "out", 1)
    other = tiny.save(tiny.llama(seed=1), tmp_path / "other", shard_size="100KB")
    with pytest.raises(RangeError, match="another conversion"):
        result_of(quantize_folder(other, tmp_path / "out"))


def test_a_finished_model_is_never_replaced(source, tmp_path):
    result_of(quantize_folder(source, tmp_path / "out"))
    before = weights(tmp_path / "out")
    with pytest.raises(RangeError, match="holds a finished model"):
        result_of(quantize_folder(source, tmp_path / "out"))
    assert weights(tmp_path / "out") == before


def test_the_source_is_never_the_target(source):
    before = weights(source)
    with pytest.raises(RangeError, match="holds a finished model"):
        result_of(quantize_folder(source, source))
    assert weights(source) == before


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_quantized_model_is_refused(source, tmp_path, kind):
    result_of(quantize_folder(source, tmp_path / "four", kind=kind))
    with pytest.raises(RangeError, match="quantized already"):
        result_of(quantize_folder(tmp_path / "four", tmp_path / "again"))


@pytest.mark.parametrize("kind", ["int4", "nf5", ""])
def test_a_kind_without_a_file_form_is_refused(source, tmp_path, kind):
    with pytest.raises(RangeError, match="--type"):
        result_of(quantize_folder(source, tmp_path / "out", kind=kind))


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_fused_experts_are_refused_by_name(tmp_path, family):
    source = tiny.save(tiny.FAMILIES[family](), tmp_path / "source")
    with pytest.raises(RangeError, match=r"experts\.gate_up_proj"):
        result_of(quantize_folder(source, tmp_path / "out"))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight"])
def test_a_weight_that_is_not_finite_is_named_with_its_file(tmp_path, name, number):
    source = tiny.save(tiny.llama(), tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    tensors[name].view(-1)[2] = number
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(NonFiniteError, match=rf"model\.safetensors.*{name}"):
        result_of(quantize_folder(source, tmp_path / "out"))
    assert not (tmp_path / "out" / "config.json").exists()


def test_a_large_8_bit_weight_beyond_float16_keeps_its_numbers(tmp_path):
    net = tiny.llama()
    net.model.layers[0].mlp.up_proj.weight.data.mul_(1e7)
    source = tiny.save(net, tmp_path / "source")
    result_of(quantize_folder(source, tmp_path / "out", kind="int8"))
    dense = load_network(tmp_path / "out").model.layers[0].mlp.up_proj.quantized.dense(torch.float32)
    wanted = net.model.layers[0].mlp.up_proj.weight
    assert (dense - wanted).abs().max() < 0.01 * wanted.abs().max()


def test_a_missing_shard_is_named(source, tmp_path):
    victim = max(source.glob("model-*.safetensors"))
    victim.unlink()
    with pytest.raises(FormatError, match=victim.name):
        result_of(quantize_folder(source, tmp_path / "out"))


PEAK_PROGRAM = """
import sys
from pathlib import Path
from trimtab.core.memory import resident_bytes
from trimtab.models.quantize_folder import quantize_folder
import torch, transformers
from trimtab.models.skeleton import skeleton
skeleton(Path(sys.argv[1]))
Path("/proc/self/clear_refs").write_text("5")
before = resident_bytes()
for event in quantize_folder(Path(sys.argv[1]), Path(sys.argv[2])):
    pass
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(int(peak.split()[1]) * 1024 - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux, to reset the highest memory use")
def test_memory_is_that_of_two_tensors_and_one_output_file_however_many_shards(tmp_path):
    sizes = {"hidden_size": 512, "intermediate_size": 4096, "num_hidden_layers": 6, "head_dim": 128}
    source = tiny.save(tiny.llama(**sizes), tmp_path / "source", shard_size="30MB")
    shards = list(source.glob("model-*.safetensors"))
    total = sum(shard.stat().st_size for shard in shards)
    assert len(shards) > 4
    program = [sys.executable, "-W", "ignore", "-c", PEAK_PROGRAM, str(source), str(tmp_path / "out")]
    done = subprocess.run(program, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    largest_tensor, largest_output = 4096 * 512 * 4, max(p.stat().st_size for p in (tmp_path / "out").glob("*.saf*"))
    grown = int(done.stdout)
    assert grown < 2 * largest_tensor + largest_output + 24 * MIB
    assert grown < total / 2


def test_the_index_names_every_tensor_of_the_output(source, tmp_path):
    result_of(quantize_folder(source, tmp_path / "out"))
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    found = {name: path.name for path in (tmp_path / "out").glob("*.safetensors") for name in load_file(path)}
    assert index["weight_map"] == found
