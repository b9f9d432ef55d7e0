"""What ``import trimtab`` gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny
import trimtab
from trimtab.core.errors import MissingError, RangeError
from trimtab.nn import QuantizedLinear


def ask_fresh_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama_folder(tmp_path_factory.mktemp("model"))


NAMES = (
    "nn.quantize_linears",
    "nn.add_lora",
    "nn.save_adapter",
    "nn.load_adapter",
    "optim.PagedAdamW",
    "quant.quantize",
)


@pytest.fixture(scope="module")
def reached() -> set[str]:
    tries = "".join(f"callable(trimtab.{name}) and print('{name}')\n" for name in NAMES)
    return set(ask_fresh_python(f"import trimtab\n{tries}").split())


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_import_reaches(name, reached):
    assert name in reached


@pytest.mark.parametrize("module", [trimtab, trimtab.nn], ids=["trimtab", "trimtab.nn"])
def test_an_unknown_name_is_refused_with_those_there_are(module):
    with pytest.raises(AttributeError, match=r"no attribute 'loda'.*load"):
        _ = module.loda


@pytest.mark.parametrize("module", [trimtab, trimtab.nn], ids=["trimtab", "trimtab.nn"])
def test_every_name_that_is_promised_is_there(module):
    assert all(hasattr(module, name) for name in module.__all__)


def test_load_gives_a_quantized_network_and_its_tokenizer(folder):
    net, tokenizer = trimtab.load(folder)
    kinds = {module.kind for module in net.modules() if isinstance(module, QuantizedLinear)}
    assert kinds == {"nf4"}
    assert tokenizer.decode(tokenizer("trim tab").input_ids) == "trim tab"


def test_load_without_quantization_gives_the_weights_as_stored(folder):
    net, tokenizer = trimtab.load(folder, quantize=None)
    ids = tokenizer("trim tab", return_tensors="pt").input_ids
    torch.testing.assert_close(tiny.logits(net, ids), tiny.logits(tiny.llama(), ids))


def test_load_takes_a_quantized_folder_as_it_is(folder, tmp_path):
    from trimtab.core.job import result_of
    from trimtab.models.quantize_folder import quantize_folder

    result_of(quantize_folder(folder, tmp_path / "fp4", kind="fp4", block_size=64, double=True))
    net, _ = trimtab.load(tmp_path / "fp4", "nf4")
    assert {module.kind for module in net.modules() if isinstance(module, QuantizedLinear)} == {"fp4"}


def test_load_puts_an_adapter_on(folder, tmp_path):
    net, _ = trimtab.load(folder)
    trimtab.nn.add_lora(net)
    tiny.tune(net)
    trimtab.nn.save_adapter(net, tmp_path)
    again, _ = trimtab.load(folder, adapter=tmp_path)
    torch.testing.assert_close(tiny.logits(again, tiny.token_ids()), tiny.logits(net.eval(), tiny.token_ids()))


def test_load_leaves_nothing_of_the_base_to_learn(folder):
    net, _ = trimtab.load(folder)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_load_refuses_an_unknown_model_with_what_to_do():
    with pytest.raises(MissingError, match=r"no model 'smolm2'.*smollm2"):
        trimtab.load("smolm2")


def test_load_refuses_an_unknown_code(folder):
    with pytest.raises(RangeError, match=r"nf5.*nf4"):
        trimtab.load(folder, "nf5")
