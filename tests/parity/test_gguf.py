"""GGUF against the gguf package and transformers' own importer: blocks, files and whole networks."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from needs import need
from trimtab.core.errors import RangeError
from trimtab.core.job import result_of
from trimtab.models.export import GGUF_TYPES, export_model
from trimtab.models.load import load_network
from trimtab.models.quantize_folder import quantize_folder
from trimtab.models.tokenizer import read_tokenizer
from trimtab.nn.lora import LoraSettings, add_lora
from trimtab.store.adapter import save_adapter
from trimtab.store.ggml import BLOCKS, GgmlType, decode, encode
from trimtab.store.gguf import read_gguf
from trimtab.store.gguf_writer import GgufWriter
from trimtab.store.importing import import_gguf

need(find_spec("gguf") is not None, "gguf", "Install it with: pip install 'trimtab[compare]'.")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import gguf

TOLERANCES = {"f16": 2e-3, "q8_0": 0.05}
TEXTS = ["the trimtab and 2026", "naïve café 東京 🙂", "  two  spaces\n\ttab", "<|im_start|>user\nhello<|im_end|>\n"]


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def folder(request, tmp_path_factory) -> Path:
    return tiny.llama_folder(tmp_path_factory.mktemp("llama") / "model", tied=request.param)


def exported(folder: Path, path: Path, dtype: str = "f16", **options) -> Path:
    result_of(export_model(folder, path, form="gguf", dtype=dtype, **options))
    return path


def random_blocks(kind: GgmlType) -> np.ndarray:
    """Draw bytes until every scale in them is a finite number."""
    generator = np.random.default_rng(int(kind))
    raw = generator.integers(0, 256, (64, BLOCKS[kind].nbytes), dtype=np.uint8)
    with np.errstate(all="ignore"):
        finite = np.isfinite(gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(kind))).all(axis=1)
    return raw[finite]


@pytest.mark.parametrize("kind", list(GgmlType), ids=lambda kind: kind.name)
def test_random_blocks_mean_what_they_mean_to_the_gguf_package(kind):
    raw = random_blocks(kind)
    assert len(raw) > 16
    theirs = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(kind)).astype(np.float32)
    ours = decode(raw.reshape(-1), kind, theirs.shape)
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=0)


@pytest.mark.parametrize("kind", list(GgmlType), ids=lambda kind: kind.name)
def test_a_block_has_the_size_that_the_gguf_package_states(kind):
    assert tuple(BLOCKS[kind]) == gguf.constants.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]


@pytest.mark.parametrize("kind", [GgmlType.F32, GgmlType.F16, GgmlType.Q8_0], ids=lambda kind: kind.name)
def test_weights_are_coded_to_the_bytes_of_the_gguf_package(kind):
    values = np.random.default_rng(0).standard_normal((8, 64), dtype=np.float32)
    values[2, :32] = 0
    theirs = gguf.quants.quantize(values, gguf.GGMLQuantizationType(kind))
    assert encode(values, kind).tobytes() == theirs.tobytes()


def test_a_written_file_is_read_by_the_gguf_package(tmp_path):
    metadata = {"general.architecture": "llama", "n": 7, "x": 0.5, "yes": True, "words": ["a", "é"], "ids": [1, -2]}
    values = np.random.default_rng(1).standard_normal((4, 64), dtype=np.float32)
    with GgufWriter(tmp_path / "x.gguf", metadata) as writer:
        writer.announce("a.weight", (4, 64), GgmlType.Q8_0)
        writer.announce("b.weight", (3,), GgmlType.F32)
        writer.write("a.weight", values)
        writer.write("b.weight", values[0, :3])
    reader = gguf.GGUFReader(tmp_path / "x.gguf")
    assert {key: reader.get_field(key).contents() for key in metadata} == metadata
    first, second = reader.tensors
    assert (first.name, list(first.shape), first.tensor_type) == ("a.weight", [64, 4], gguf.GGMLQuantizationType.Q8_0)
    assert np.array_equal(np.asarray(second.data), values[0, :3])


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_0"])
def test_a_file_of_the_gguf_package_is_read_here(tmp_path, kind):
    values = np.random.default_rng(2).standard_normal((4, 64), dtype=np.float32)
    coded = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
    writer = gguf.GGUFWriter(str(tmp_path / "x.gguf"), "llama")
    writer.add_array("nested", ["one", "two"])
    writer.add_uint32("llama.block_count", 3)
    writer.add_tensor("a.weight", coded, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = read_gguf(tmp_path / "x.gguf")
    assert (file.metadata["nested"], file.metadata["llama.block_count"]) == (["one", "two"], 3)
    tensor = file.tensors["a.weight"]
    expected = gguf.quants.dequantize(coded, gguf.GGMLQuantizationType[kind])
    np.testing.assert_array_equal(decode(tensor.data, tensor.kind, tensor.shape), expected)


@pytest.mark.parametrize("dtype", GGUF_TYPES)
def test_an_exported_network_comes_back_with_its_logits(folder, tmp_path, dtype):
    path = exported(folder, tmp_path / "x.gguf", dtype)
    result_of(import_gguf(path, tmp_path / "back"))
    ids = tiny.token_ids()
    before, after = (tiny.logits(load_network(where), ids) for where in (folder, tmp_path / "back"))
    assert (after - before).square().mean().sqrt() < TOLERANCES[dtype] * before.square().mean().sqrt()


@pytest.mark.filterwarnings("ignore")
def test_an_exported_network_has_the_same_logits_in_transformers(folder, tmp_path):
    from transformers import AutoModelForCausalLM

    exported(folder, tmp_path / "x.gguf")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="x.gguf", dtype=torch.float32).eval()
    result_of(import_gguf(tmp_path / "x.gguf", tmp_path / "back"))
    ids = tiny.token_ids()
    ours = tiny.logits(load_network(tmp_path / "back"), ids)
    torch.testing.assert_close(ours, tiny.logits(theirs, ids), atol=1e-5, rtol=0)


def test_the_tokenizer_makes_the_round_trip(folder, tmp_path):
    result_of(import_gguf(exported(folder, tmp_path / "x.gguf"), tmp_path / "back"))
    before, after = read_tokenizer(folder), read_tokenizer(tmp_path / "back")
    for text in TEXTS:
        ids = before(text, add_special_tokens=False).input_ids
        assert after(text, add_special_tokens=False).input_ids == ids
        assert after.decode(ids) == text
    assert (after.bos_token, after.eos_token, after.pad_token) == (before.bos_token, before.eos_token, before.pad_token)
    assert after.chat_template == before.chat_template


def test_the_config_makes_the_round_trip(folder, tmp_path):
    result_of(import_gguf(exported(folder, tmp_path / "x.gguf"), tmp_path / "back"))
    before, after = (json.loads((where / "config.json").read_text()) for where in (folder, tmp_path / "back"))
    same = ("hidden_size", "num_key_value_heads", "head_dim", "vocab_size", "tie_word_embeddings", "model_type")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}


def test_a_quantized_base_and_its_adapter_are_exported_as_one(folder, tmp_path):
    result_of(quantize_folder(folder, tmp_path / "four"))
    net, ids = add_lora(load_network(tmp_path / "four"), LoraSettings(rank=4, alpha=8)), tiny.token_ids()
    tiny.tune(net)
    save_adapter(net, tmp_path / "adapter")
    exported(tmp_path / "four", tmp_path / "x.gguf", adapter=tmp_path / "adapter")
    result_of(import_gguf(tmp_path / "x.gguf", tmp_path / "back"))
    before, after = tiny.logits(net, ids), tiny.logits(load_network(tmp_path / "back"), ids)
    assert (after - before).square().mean().sqrt() < TOLERANCES["f16"] * before.square().mean().sqrt()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_bias": True}, "q_proj.bias"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "rotary scaling"),
    ],
    ids=["biases", "scaled rotary"],
)
def test_what_has_no_place_in_a_gguf_is_refused(tmp_path, changes, message):
    changes = {("bias" if key == "attention_bias" else key): value for key, value in changes.items()}
    source = tiny.llama_folder(tmp_path / "model", **changes)
    with pytest.raises(RangeError, match=message):
        exported(source, tmp_path / "x.gguf")
    assert not list(tmp_path.glob("*x.gguf*"))


def test_another_architecture_has_no_gguf_form(tmp_path):
    source = tiny.save(tiny.FAMILIES["qwen2"](), tmp_path / "model", with_tokenizer=True)
    with pytest.raises(RangeError, match="qwen2"):
        exported(source, tmp_path / "x.gguf")


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_a_safetensors_export_has_the_logits_of_its_type(folder, tmp_path, dtype):
    result_of(export_model(folder, tmp_path / "out", form="safetensors", dtype=dtype))
    ids = tiny.token_ids()
    before, after = (tiny.logits(load_network(where), ids) for where in (folder, tmp_path / "out"))
    limit = {"f32": 1e-6, "f16": 2e-3, "bf16": 2e-2}[dtype]
    assert (after - before).square().mean().sqrt() < limit * before.square().mean().sqrt()
