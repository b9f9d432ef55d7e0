"""Merging: base plus adapter becomes one weight, dense or quantized again, and the cost is told."""

from __future__ import annotations

import json

import pytest
import torch

import tiny
from trimtab.core.errors import MissingError, NonFiniteError, RangeError
from trimtab.core.job import Note, Result, result_of
from trimtab.models.load import Quantization, load_network
from trimtab.models.merge import merge_lora
from trimtab.models.merge_folder import merge_folder
from trimtab.models.quantize_folder import quantize_folder
from trimtab.nn.linear import QuantizedLinear
from trimtab.nn.lora import LoraSettings, add_lora, lora_layers
from trimtab.store.adapter import save_adapter

KINDS = [None, "nf4", "fp4", "int8"]


@pytest.fixture
def base(tmp_path):
    return tiny.llama_folder(tmp_path / "base", bias=True)


def adapted(folder, kind=None):
    torch.manual_seed(0)
    net = load_network(folder, quantization=Quantization(kind) if kind else None)
    tiny.tune(add_lora(net, LoraSettings(rank=4, alpha=8)))
    return net


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_network_has_the_logits_of_base_and_adapter(base, kind):
    net, ids = adapted(base, kind), tiny.token_ids()
    before = tiny.logits(net, ids)
    merged = merge_lora(net)
    assert not lora_layers(merged)
    assert not any(isinstance(module, QuantizedLinear) for module in merged.modules())
    torch.testing.assert_close(tiny.logits(merged, ids), before, atol=1e-5, rtol=0)


def test_a_merge_that_quantizes_again_stays_quantized(base):
    net = adapted(base, "nf4")
    count = len(lora_layers(net))
    merged = merge_lora(net, requantize=True)
    assert sum(isinstance(module, QuantizedLinear) for module in merged.modules()) == count


def test_an_adapter_that_is_not_there_is_named(base):
    with pytest.raises(MissingError, match="'other'"):
        merge_lora(adapted(base), adapter="other")


def test_a_merged_weight_that_is_not_finite_is_never_quantized(base):
    net = adapted(base, "nf4")
    with torch.no_grad():
        next(iter(lora_layers(net).values())).lora_B["default"][0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="q_proj"):
        merge_lora(net, requantize=True)


@pytest.mark.parametrize("quantized", [False, True])
def test_a_merged_folder_has_the_logits_of_base_and_adapter(base, tmp_path, quantized):
    if quantized:
        result_of(quantize_folder(base, tmp_path / "four"))
        base = tmp_path / "four"
    net, ids = adapted(base), tiny.token_ids()
    save_adapter(net, tmp_path / "adapter")
    result = result_of(merge_folder(base, tmp_path / "adapter", tmp_path / "out"))
    assert result["logit_error"]["relative"] < 1e-5
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
    merged = load_network(tmp_path / "out")
    torch.testing.assert_close(tiny.logits(merged, ids), tiny.logits(net, ids), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_folder_quantized_again_states_what_that_cost(base, tmp_path, kind):
    result_of(quantize_folder(base, tmp_path / "four", kind=kind))
    net, ids = adapted(tmp_path / "four"), tiny.token_ids()
    save_adapter(net, tmp_path / "adapter")
    events = list(merge_folder(tmp_path / "four", tmp_path / "adapter", tmp_path / "out", requantize=True))
    notes, results = [e for e in events if isinstance(e, Note)], [e for e in events if isinstance(e, Result)]
    cost = results[-1].values["logit_error"]
    assert 0 < cost["relative"] < 0.5
    assert f"{cost['relative']:.2e}" in notes[0].text
    again = tiny.logits(load_network(tmp_path / "out"), ids)
    assert 0 < (again - tiny.logits(net, ids)).abs().max() < 0.5
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (
        config["quantization_config"]
        == json.loads((tmp_path / "four" / "config.json").read_text())["quantization_config"]
    )


def test_quantizing_again_what_was_not_quantized_is_refused(base, tmp_path):
    save_adapter(adapted(base), tmp_path / "adapter")
    with pytest.raises(RangeError, match="--requantize"):
        result_of(merge_folder(base, tmp_path / "adapter", tmp_path / "out", requantize=True))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_never_overwritten(base, tmp_path):
    save_adapter(adapted(base), tmp_path / "adapter")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(RangeError, match="exists already"):
        result_of(merge_folder(base, tmp_path / "adapter", tmp_path / "out"))
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
