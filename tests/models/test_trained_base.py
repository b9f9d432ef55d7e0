"""An adapter meets the base it learned on, however the model folder stores it."""

from __future__ import annotations

import json

import pytest
import torch

import tiny
from trimtab.core.errors import UsageError
from trimtab.core.job import Note
from trimtab.models.export import export_model
from trimtab.models.load import Quantization, load_network
from trimtab.models.merge_folder import merge_folder
from trimtab.models.quantize_folder import quantize_folder
from trimtab.models.trained_base import form_for, form_missed, quantization_like
from trimtab.nn.lora import LoraSettings, add_lora
from trimtab.store.adapter import load_adapter, save_adapter
from trimtab.store.adapter_base import BASE_NAME

WAYS = [
    Quantization(),
    Quantization("nf4", 128, False),
    Quantization("fp4", 32),
    Quantization("int4", double=False),
    Quantization("int8"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.llama_folder(tmp_path_factory.mktemp("base") / "tiny")


def adapted(folder, path, quantization=None):
    """Tune an adapter a little; give the network it sits on."""
    torch.manual_seed(0)
    net = add_lora(load_network(folder, quantization=quantization), LoraSettings(rank=4, alpha=8))
    tiny.tune(net)
    save_adapter(net, path)
    return net


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_base_is_made_again_to_the_bit(folder, tmp_path, way):
    net, ids = adapted(folder, tmp_path / "adapter", way), tiny.token_ids()
    form = form_missed(folder, tmp_path / "adapter")
    again = load_adapter(load_network(folder, quantization=quantization_like(form)), tmp_path / "adapter")
    assert torch.equal(tiny.logits(again, ids), tiny.logits(net, ids))


def test_an_adapter_of_a_dense_base_misses_nothing(folder, tmp_path):
    adapted(folder, tmp_path / "adapter")
    assert form_missed(folder, tmp_path / "adapter") is None


def test_a_folder_that_is_quantized_already_misses_nothing(folder, tmp_path):
    list(quantize_folder(folder, tmp_path / "four"))
    adapted(folder, tmp_path / "adapter", Quantization())
    assert form_missed(tmp_path / "four", tmp_path / "adapter") is None


def test_an_adapter_of_a_quantized_folder_remembers_its_form(folder, tmp_path):
    list(quantize_folder(folder, tmp_path / "four", block_size=128, double=False))
    adapted(tmp_path / "four", tmp_path / "adapter")
    assert str(form_missed(folder, tmp_path / "adapter")) == "nf4, blocks of 128"


def test_without_a_record_the_folder_is_taken_as_it_is(folder, tmp_path):
    adapted(folder, tmp_path / "adapter", Quantization())
    (tmp_path / "adapter" / BASE_NAME).unlink()
    assert form_missed(folder, tmp_path / "adapter") is None


@pytest.mark.parametrize("order", [1, -1])
def test_adapters_of_different_forms_cannot_stand_on_one_base(folder, tmp_path, order):
    adapted(folder, tmp_path / "four", Quantization())
    adapted(folder, tmp_path / "dense")
    with pytest.raises(UsageError, match=r"different forms .*: nf4 .*|different forms .*: dense"):
        form_for(folder, [tmp_path / "four", tmp_path / "dense"][::order])


def test_an_adapter_without_a_record_takes_the_form_of_the_others(folder, tmp_path):
    for name in ("four", "foreign"):
        adapted(folder, tmp_path / name, Quantization())
    (tmp_path / "foreign" / BASE_NAME).unlink()
    assert str(form_for(folder, [tmp_path / "foreign", tmp_path / "four"])) == "nf4 + double, blocks of 64"


@pytest.mark.parametrize("way", [None, Quantization()], ids=["dense", "nf4"])
@pytest.mark.parametrize("verb", ["merge", "export"])
def test_folding_into_dense_weights_is_told_where_the_adapter_learned_on_others(folder, tmp_path, verb, way):
    adapted(folder, tmp_path / "adapter", way)
    jobs = {
        "merge": lambda: merge_folder(folder, tmp_path / "adapter", tmp_path / "out"),
        "export": lambda: export_model(
            folder, tmp_path / "out", form="safetensors", dtype="f32", adapter=tmp_path / "adapter"
        ),
    }
    notes = [event.text for event in jobs[verb]() if isinstance(event, Note)]
    told = [text for text in notes if "learned on quantized weights (nf4 + double, blocks of 64)" in text]
    assert len(told) == (way is not None)


def test_a_run_records_the_base_under_its_adapter(folder, tmp_path):
    from train_runs import SMALL, write_rows
    from trimtab.train.loop import train
    from trimtab.train.request import TrainRequest
    from trimtab.train.settings import TrainSettings

    rows = str(write_rows(tmp_path / "rows.jsonl"))
    list(train(TrainRequest(folder, rows, tmp_path / "run", TrainSettings(**SMALL | {"steps": 1, "block_size": 128}))))
    document = json.loads((tmp_path / "run" / "adapter" / BASE_NAME).read_text())
    assert document["form"] == {"kind": "nf4", "block_size": 128, "double": True}
    assert (document["model"], len(document["sha256"])) == (str(folder), 64)
