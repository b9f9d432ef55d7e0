"""Adapters against PEFT: folders go both ways and the logits are the same."""

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
from trimtab.models.load import Quantization, load_network
from trimtab.models.quantize_folder import quantize_folder
from trimtab.nn.lora import LoraSettings, activate, add_lora
from trimtab.store.adapter import load_adapter, save_adapter

need(find_spec("peft") is not None, "peft", "Install it with: pip install 'trimtab[compare]'.")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import peft

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]

SETTINGS = {
    "all layers": LoraSettings(rank=4, alpha=8),
    "rank-stabilised": LoraSettings(rank=4, alpha=8, rank_stabilised=True),
    "named layers": LoraSettings(rank=2, alpha=3, targets=("q_proj", "v_proj")),
    "one layer": LoraSettings(rank=2, alpha=4, targets=("model.layers.1.mlp.up_proj",)),
    "fractional alpha": LoraSettings(rank=3, alpha=1.5),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny.save(tiny.llama(bias=True), tmp_path_factory.mktemp("base"))


def peer(base: Path, adapter: Path):
    """Load base and adapter with transformers and PEFT."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind = AutoModelForSeq2SeqLM if AutoConfig.from_pretrained(base).is_encoder_decoder else AutoModelForCausalLM
    net = kind.from_pretrained(base, device_map="cpu")
    for module in net.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return peft.PeftModel.from_pretrained(net, adapter).eval()


def trained(net: torch.nn.Module, settings: LoraSettings, *, seed: int = 0, adapter: str = "default"):
    torch.manual_seed(seed)
    tiny.tune(add_lora(net, settings, adapter=adapter))
    return net


def assert_same_logits(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    ids = tiny.token_ids()
    torch.testing.assert_close(tiny.logits(ours, ids), tiny.logits(theirs, ids), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SETTINGS)
def test_an_adapter_of_ours_acts_there_as_here(base, tmp_path, name):
    net = trained(load_network(base), SETTINGS[name])
    save_adapter(net, tmp_path)
    assert_same_logits(net, peer(base, tmp_path))


@pytest.mark.parametrize("name", ["all layers", "rank-stabilised"])
def test_an_adapter_of_ours_acts_there_on_4_bits_as_here(base, tmp_path, name):
    need(find_spec("bitsandbytes") is not None, "bitsandbytes", "Install it with: pip install 'trimtab[compare]'.")
    result_of(quantize_folder(base, tmp_path / "base"))
    net = trained(load_network(tmp_path / "base"), SETTINGS[name])
    save_adapter(net, tmp_path / "adapter")
    assert_same_logits(net, peer(tmp_path / "base", tmp_path / "adapter"))


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "gpt_neox", "opt", "mixtral", "t5"])
def test_adapters_of_other_families_act_there_as_here(tmp_path, family):
    folder = tiny.save(tiny.FAMILIES[family](), tmp_path / "base")
    net = trained(load_network(folder), LoraSettings(rank=4, alpha=8))
    save_adapter(net, tmp_path / "adapter")
    assert_same_logits(net, peer(folder, tmp_path / "adapter"))


@pytest.mark.parametrize("stabilised", [False, True])
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "down_proj"]])
def test_an_adapter_of_theirs_acts_here_as_there(base, tmp_path, targets, stabilised):
    from transformers import AutoModelForCausalLM

    config = peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=targets, use_rslora=stabilised, init_lora_weights=False, task_type="CAUSAL_LM"
    )
    theirs = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
    theirs.save_pretrained(tmp_path)
    assert_same_logits(load_adapter(load_network(base), tmp_path), theirs)


def test_the_config_has_the_keys_and_values_that_theirs_has(base, tmp_path):
    save_adapter(trained(load_network(base), SETTINGS["named layers"]), tmp_path, base="some/base")
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    config = peft.LoraConfig.from_pretrained(tmp_path)
    assert {key: getattr(config, key) for key in ("r", "lora_alpha", "bias", "use_rslora")} == {
        "r": 2,
        "lora_alpha": 3,
        "bias": "none",
        "use_rslora": False,
    }
    assert written["base_model_name_or_path"] == "some/base"
    assert set(config.target_modules) == {"q_proj", "v_proj"}


def test_each_of_several_adapters_on_one_base_acts_as_it_does_alone(base, tmp_path):
    for seed, name in enumerate(("first", "second")):
        save_adapter(trained(load_network(base), SETTINGS["all layers"], seed=seed), tmp_path / name)
    net = load_network(base, quantization=None)
    for name in ("first", "second"):
        load_adapter(net, tmp_path / name, adapter=name)
    for name in ("first", "second", "first"):
        activate(net, name)
        assert_same_logits(net, peer(base, tmp_path / name))


def test_a_saved_adapter_comes_back_with_the_same_bits(base, tmp_path):
    net = trained(load_network(base, quantization=Quantization()), SETTINGS["rank-stabilised"])
    save_adapter(net, tmp_path)
    again = load_adapter(load_network(base, quantization=Quantization()), tmp_path)
    assert torch.equal(tiny.logits(again, tiny.token_ids()), tiny.logits(net, tiny.token_ids()))
