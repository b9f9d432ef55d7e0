"""Adapters: what they add, which layers they take, and how several live on one base."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import tiny
from trimtab.core.errors import MissingError, RangeError
from trimtab.nn.freeze import fingerprint, trainable
from trimtab.nn.linear import QuantizedLinear, quantize_linears
from trimtab.nn.lora import (
    LoraLinear,
    LoraSettings,
    activate,
    adapters,
    add_lora,
    base_only,
    lora_layers,
    remove_lora,
)

SMALL = LoraSettings(rank=4, alpha=8)


def tuned(**options) -> nn.Module:
    net = add_lora(quantize_linears(tiny.llama()), LoraSettings(**({"rank": 4, "alpha": 8} | options)))
    tiny.tune(net)
    return net


def test_an_untrained_adapter_changes_nothing():
    net, ids = tiny.llama(), tiny.token_ids()
    before = tiny.logits(net, ids)
    assert torch.equal(tiny.logits(add_lora(net, SMALL), ids), before)


def test_a_trained_adapter_changes_the_logits():
    net, ids = tuned(), tiny.token_ids()
    with base_only(net):
        bare = tiny.logits(net, ids)
    assert (tiny.logits(net, ids) - bare).abs().max() > 1e-3


@pytest.mark.parametrize("stabilised", [False, True])
def test_the_output_is_base_plus_the_scaled_product(stabilised):
    torch.manual_seed(0)
    layer = LoraLinear(nn.Linear(16, 24))
    layer.add("a", LoraSettings(rank=4, alpha=6, rank_stabilised=stabilised))
    nn.init.normal_(layer.lora_B["a"])
    x = torch.randn(2, 5, 16)
    scale = 6 / math.sqrt(4) if stabilised else 6 / 4
    expected = layer.base(x) + scale * (x @ layer.lora_A["a"].T @ layer.lora_B["a"].T)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.base(x) + x @ layer.delta("a").T, expected)


def test_training_and_evaluation_give_identical_logits_without_dropout():
    net, ids = tuned(), tiny.token_ids()
    assert torch.equal(tiny.logits(net.train(), ids), tiny.logits(net.eval(), ids))


def test_dropout_acts_in_training_only():
    net, ids = tuned(dropout=0.5), tiny.token_ids()
    assert torch.equal(tiny.logits(net.eval(), ids), tiny.logits(net, ids))
    assert not torch.equal(tiny.logits(net.train(), ids), tiny.logits(net.eval(), ids))


@pytest.mark.parametrize("quantized", [False, True])
def test_only_the_factors_learn(quantized):
    net = quantize_linears(tiny.llama()) if quantized else tiny.llama()
    names = trainable(add_lora(net, SMALL))
    assert len(names) == 2 * 7 * tiny.LAYERS
    assert all(".lora_A." in name or ".lora_B." in name for name in names)


@pytest.mark.parametrize("kind", [None, "nf4", "int8"])
def test_training_leaves_every_byte_of_the_base(kind):
    net = tiny.llama() if kind is None else quantize_linears(tiny.llama(), kind=kind)
    add_lora(net, SMALL)
    before = fingerprint(net)
    tiny.tune(net)
    assert fingerprint(net) == before


def test_a_fingerprint_sees_a_single_changed_bit():
    net = add_lora(quantize_linears(tiny.llama()), SMALL)
    before = fingerprint(net)
    next(m for m in net.modules() if isinstance(m, QuantizedLinear)).codes[0] ^= 1
    assert fingerprint(net) != before


def test_named_targets_take_those_layers_alone():
    net = add_lora(tiny.llama(), LoraSettings(rank=2, targets=("q_proj", "layers.1.mlp.up_proj")))
    names = [name.removeprefix("model.layers.") for name in lora_layers(net)]
    assert names == ["0.self_attn.q_proj", "1.self_attn.q_proj", "1.mlp.up_proj"]


def test_a_misspelt_target_names_what_is_near():
    with pytest.raises(MissingError, match="Did you mean 'q_proj'"):
        add_lora(tiny.llama(), LoraSettings(targets=("q_porj",)))


def test_several_adapters_keep_apart_and_switch_without_loading():
    net, ids = tuned(), tiny.token_ids()
    first = tiny.logits(net, ids)
    add_lora(net, SMALL, adapter="second")
    tiny.tune(net)
    second = tiny.logits(net, ids)
    assert not torch.equal(first, second)
    activate(net, "default")
    assert torch.equal(tiny.logits(net, ids), first)
    assert adapters(net) == ["default", "second"]


def test_only_the_active_adapter_learns():
    net = add_lora(tuned(), SMALL, adapter="second")
    assert all(name.endswith(".second") for name in trainable(net))


def test_without_an_active_adapter_the_base_speaks():
    net, ids = quantize_linears(tiny.llama()), tiny.token_ids()
    bare = tiny.logits(net, ids)
    tiny.tune(add_lora(net, SMALL))
    activate(net, None)
    assert torch.equal(tiny.logits(net, ids), bare)
    assert torch.equal(tiny.logits(remove_lora(net), ids), bare)


def test_an_unknown_adapter_names_those_that_are_there():
    with pytest.raises(MissingError, match="'default'"):
        activate(tuned(), "defualt")


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(RangeError, match="already"):
        add_lora(tuned(), SMALL)


@pytest.mark.parametrize("name", ["", "a.b", "../x", "1st"])
def test_a_name_that_is_no_identifier_is_refused(name):
    with pytest.raises(RangeError, match="adapter name"):
        add_lora(tiny.llama(), SMALL, adapter=name)


@pytest.mark.parametrize(
    "wrong",
    [{"rank": 0}, {"rank": -1}, {"alpha": 0.0}, {"alpha": math.nan}, {"alpha": math.inf}, {"dropout": 1.0}],
    ids=str,
)
def test_settings_outside_their_range_are_refused(wrong):
    with pytest.raises(RangeError, match=next(iter(wrong))):
        LoraSettings(**wrong)


def test_a_quantized_and_adapted_network_compiles_whole():
    # In a process of its own: the run-time checks of shapes that the tests install cannot be traced.
    tests = Path(__file__).parents[1]
    command = [sys.executable, str(tests / "nn" / "compile_whole.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tests)})
    assert done.returncode == 0, done.stderr
