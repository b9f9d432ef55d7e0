"""Quantized model folders against transformers + bitsandbytes, to the byte and both ways."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import tiny
from needs import need
from trimtab.core.job import result_of
from trimtab.models.load import load_network
from trimtab.models.quantize_folder import quantize_folder
from trimtab.nn.linear import QuantizedLinear
from trimtab.quant import quantize
from trimtab.store.bitsandbytes import from_tensors, to_tensors
from trimtab.store.safetensors import TensorFile, checkpoint_files

for package in ("bitsandbytes", "accelerate"):
    need(find_spec(package) is not None, package, "Install it with: pip install 'trimtab[compare]'.")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import bitsandbytes as bnb

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")

NETWORKS = {
    "plain": {},
    "tied": {"tied": True},
    "biased": {"bias": True},
    "odd": {"intermediate_size": 72, "vocab_size": 301},
}


def peer(folder: Path, **options):
    """Load a folder with transformers and bitsandbytes, the repacking of AVX512 machines (bfloat16) left aside."""
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", **options)
    for module in net.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
    return net.eval()


def peer_config(kind: str, double: bool = True, **more):
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    four = {"bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": double}
    return BitsAndBytesConfig(load_in_4bit=True, **four, **more)


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: TensorFile(path).load(name) for name, path in checkpoint_files(folder).items()}


def assert_same_bytes(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (tensor.dtype, tensor.shape), name
        flat = tensor.contiguous().view(-1).view(torch.uint8)
        assert torch.equal(ours[name].contiguous().view(-1).view(torch.uint8), flat), name


def written_by_both(source: Path, folder: Path, kind: str, double: bool = True) -> tuple[Path, Path]:
    peer(source, quantization_config=peer_config(kind, double)).save_pretrained(folder / "theirs")
    result_of(quantize_folder(source, folder / "ours", kind=kind, double=double))
    return folder / "ours", folder / "theirs"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("kind", "double"), [("nf4", True), ("nf4", False), ("fp4", True), ("fp4", False), ("int8", False)]
)
def test_every_tensor_and_the_config_are_those_that_bitsandbytes_writes(tmp_path, kind, double, dtype):
    source = tiny.save(tiny.llama(bias=True).to(dtype), tmp_path / "source")
    ours, theirs = written_by_both(source, tmp_path, kind, double)
    assert_same_bytes(tensors_of(ours), tensors_of(theirs))
    assert json.loads((ours / "config.json").read_text()) == json.loads((theirs / "config.json").read_text())


@pytest.mark.parametrize("network", NETWORKS)
def test_ties_biases_and_odd_shapes_are_written_as_theirs(tmp_path, network):
    source = tiny.save(tiny.llama(**NETWORKS[network]), tmp_path / "source")
    ours, theirs = written_by_both(source, tmp_path, "nf4")
    assert_same_bytes(tensors_of(ours), tensors_of(theirs))


def test_a_sharded_model_gives_the_tensors_of_a_whole_one(tmp_path):
    source = tiny.save(tiny.llama(), tmp_path / "source", shard_size="100KB")
    assert len(list(source.glob("model-*.safetensors"))) > 2
    ours, theirs = written_by_both(source, tmp_path, "nf4")
    assert_same_bytes(tensors_of(ours), tensors_of(theirs))


@pytest.mark.parametrize("family", ["qwen2", "gemma2", "gpt_neox", "opt", "t5"])
def test_other_families_are_written_as_theirs(tmp_path, family):
    from transformers import AutoModelForSeq2SeqLM

    source = tiny.save(tiny.FAMILIES[family](), tmp_path / "source")
    if family == "t5":
        net = AutoModelForSeq2SeqLM.from_pretrained(source, device_map="cpu", quantization_config=peer_config("nf4"))
        net.save_pretrained(tmp_path / "theirs")
        result_of(quantize_folder(source, tmp_path / "ours"))
    else:
        written_by_both(source, tmp_path, "nf4")
    assert_same_bytes(tensors_of(tmp_path / "ours"), tensors_of(tmp_path / "theirs"))


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_a_folder_of_ours_loads_there_with_the_same_logits(tmp_path, kind, sharded):
    source = tiny.save(tiny.llama(bias=True), tmp_path / "source", shard_size="100KB" if sharded else None)
    result_of(quantize_folder(source, tmp_path / "ours", kind=kind))
    ids = tiny.token_ids()
    theirs = tiny.logits(peer(tmp_path / "ours"), ids)
    torch.testing.assert_close(tiny.logits(load_network(tmp_path / "ours"), ids), theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("storage", "double"),
    [("uint8", True), ("uint8", False), ("bfloat16", True), ("float16", True), ("float32", True)],
)
def test_a_folder_of_theirs_loads_here_whatever_its_storage_type(tmp_path, storage, double):
    source = tiny.save(tiny.llama(bias=True), tmp_path / "source")
    config = peer_config("nf4", double, bnb_4bit_quant_storage=getattr(torch, storage))
    net = peer(source, quantization_config=config)
    net.save_pretrained(tmp_path / "theirs")
    ids = tiny.token_ids()
    loaded = load_network(tmp_path / "theirs")
    torch.testing.assert_close(tiny.logits(loaded, ids), tiny.logits(net, ids), atol=1e-5, rtol=0)


def test_an_8_bit_folder_of_theirs_has_the_same_dense_weights_here(tmp_path):
    source = tiny.save(tiny.llama(), tmp_path / "source")
    net = peer(source, quantization_config=peer_config("int8"))
    net.save_pretrained(tmp_path / "theirs")
    ours = load_network(tmp_path / "theirs")
    for name, module in net.named_modules():
        if isinstance(module, bnb.nn.Linear8bitLt):
            dense = bnb.functional.int8_vectorwise_dequant(module.weight.CB, module.weight.SCB)
            assert torch.equal(ours.get_submodule(name).quantized.dense(torch.float32), dense), name


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int8"])
def test_our_own_folder_gives_the_network_that_is_quantized_in_memory(tmp_path, kind):
    from trimtab.models.load import Quantization

    source = tiny.save(tiny.llama().half(), tmp_path / "source")
    result_of(quantize_folder(source, tmp_path / "ours", kind=kind))
    stored, made = load_network(tmp_path / "ours"), load_network(source, quantization=Quantization(kind))
    for name, module in made.named_modules():
        if isinstance(module, QuantizedLinear):
            assert torch.equal(stored.get_submodule(name).codes, module.codes), name
            assert torch.equal(stored.get_submodule(name).absmax, module.absmax), name


@pytest.mark.parametrize("block_size", [32, 64, 128, 256, 512, 1024, 2048, 4096])
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_every_block_size_is_written_as_a_linear_layer_of_theirs_writes_it(kind, double, block_size):
    weight = torch.randn(48, 100, generator=torch.Generator().manual_seed(block_size))
    layer = bnb.nn.Linear4bit(100, 48, bias=False, compress_statistics=double, quant_type=kind)
    parameter = {"requires_grad": False, "blocksize": block_size, "compress_statistics": double, "quant_type": kind}
    layer.weight = bnb.nn.Params4bit(weight.clone(), **parameter).to("cpu")
    ours = to_tensors("weight", quantize(weight, kind=kind, block_size=block_size, double=double))
    assert_same_bytes(ours, dict(layer.state_dict()))


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int8"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 96), (7, 4099)])
def test_a_written_weight_is_read_back_as_it_was(kind, shape):
    weight = quantize(torch.randn(shape, generator=torch.Generator().manual_seed(2)), kind=kind)
    again = from_tensors("x.weight", to_tensors("x.weight", weight), path=Path("x"), dtype=torch.float32)
    assert torch.equal(again.dense(), weight.dense())
    assert (again.kind, again.shape, again.block_size, again.dtype) == (kind, shape, weight.block_size, weight.dtype)
