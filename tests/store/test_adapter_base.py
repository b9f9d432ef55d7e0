"""What an adapter folder says about the network that was under it."""

from __future__ import annotations

import json

import pytest
from torch import nn

import tiny
from trimtab.core.errors import FormatError
from trimtab.nn.linear import quantize_linears
from trimtab.nn.lora import LoraSettings, add_lora
from trimtab.store.adapter import save_adapter
from trimtab.store.adapter_base import BASE_NAME, AdapterBase, WeightForm, form_of, read_base

FORMS = [
    WeightForm("nf4", 64, True),
    WeightForm("nf4", 128, False),
    WeightForm("fp4", 32, True),
    WeightForm("int4", 64, False),
    WeightForm("int8"),
]
DAMAGE = [
    "",
    "[]",
    "{}",
    "{" * 100_000,
    '{"model": "m", "sha256": ""}',
    '{"model": "m", "sha256": "", "form": "nf4"}',
    '{"model": "m", "sha256": "", "form": {"kind": "nf5", "block_size": 64, "double": true}}',
    '{"model": "m", "sha256": "", "form": {"kind": ["nf4"], "block_size": 64, "double": true}}',
    '{"model": "m", "sha256": "", "form": {"kind": "nf4", "block_size": "64", "double": true}}',
    '{"model": "m", "sha256": "", "form": {"kind": "nf4", "block_size": 64, "double": 1}}',
    '{"model": "' + "x" * 100_000 + '", "sha256": "", "form": null}',
]


def quantized(form: WeightForm) -> nn.Module:
    return quantize_linears(tiny.llama(), kind=form.kind, block_size=form.block_size or 64, double=form.double)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_form_of_the_base_is_written_beside_the_adapter(tmp_path, form):
    net = add_lora(quantized(form), LoraSettings(rank=2))
    save_adapter(net, tmp_path, base="smollm2", base_sha256="ab" * 32)
    assert read_base(tmp_path) == AdapterBase("smollm2", "ab" * 32, form)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_layers_that_are_not_adapted_count_too(form):
    assert form_of(add_lora(quantized(form), LoraSettings(rank=2, targets=("q_proj",)))) == form


def test_a_dense_base_has_no_form(tmp_path):
    save_adapter(add_lora(tiny.llama(), LoraSettings(rank=2)), tmp_path)
    assert read_base(tmp_path) == AdapterBase("", "", None)


@pytest.mark.parametrize("kind", ["nf4", None])
def test_layers_stored_in_two_ways_have_no_one_form(kind):
    net = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    net[0] = quantize_linears(nn.Sequential(net[0]), kind="fp4")[0]
    if kind:
        quantize_linears(net, kind=kind)
    assert form_of(net) is None


def test_a_folder_of_another_program_has_no_record(tmp_path):
    assert read_base(tmp_path) is None


@pytest.mark.parametrize("content", DAMAGE, ids=lambda content: content[:60])
def test_a_damaged_record_is_named_with_what_to_do(tmp_path, content):
    (tmp_path / BASE_NAME).write_text(content)
    with pytest.raises(FormatError, match="Remove the file") as refused:
        read_base(tmp_path)
    assert len(str(refused.value)) < 400 + len(str(tmp_path))


def test_bad_utf_8_in_a_record_is_named(tmp_path):
    (tmp_path / BASE_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(FormatError, match=BASE_NAME):
        read_base(tmp_path)


def test_the_record_is_plain_json(tmp_path):
    save_adapter(add_lora(quantized(FORMS[0]), LoraSettings(rank=2)), tmp_path, base="m")
    document = json.loads((tmp_path / BASE_NAME).read_text())
    assert document == {"model": "m", "sha256": "", "form": {"kind": "nf4", "block_size": 64, "double": True}}


@pytest.mark.parametrize(
    ("form", "words"),
    [(FORMS[0], "nf4 + double, blocks of 64"), (FORMS[1], "nf4, blocks of 128"), (FORMS[4], "int8")],
)
def test_a_form_is_said_in_words(form, words):
    assert str(form) == words
