"""Choosing a folder's decoder, and knowing what ends its answers."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

import tiny
from trimtab.core.errors import FormatError
from trimtab.models.decoder import Read
from trimtab.models.decoders import GENERATION_NAME, end_tokens, load_decoder
from trimtab.models.load import Quantization
from trimtab.models.transformers_decoder import TransformersDecoder
from trimtab.nn.lora import LoraSettings, add_lora
from trimtab.store.adapter import save_adapter


def test_adapters_of_folders_are_known_by_the_names_they_were_given(tmp_path):
    net = tiny.llama()
    add_lora(net, LoraSettings(rank=2))
    tiny.tune(net)
    save_adapter(net, tmp_path / "adapter")
    folder = tiny.llama_folder(tmp_path / "model")
    decoder = load_decoder(folder, adapters={"mine": tmp_path / "adapter"}, exact=True)
    base, tuned = decoder.read([Read(decoder.start(name), (1, 2, 3)) for name in (None, "mine")])
    assert decoder.adapters == ("mine",)
    assert not base.allclose(tuned, atol=1e-3)


def test_a_network_without_a_lean_decoder_is_run_by_transformers_which_is_said(tmp_path, caplog):
    folder = tiny.save(tiny.FAMILIES["gpt_neox"](), tmp_path / "neox")
    with caplog.at_level(logging.WARNING):
        decoder = load_decoder(folder, quantization=Quantization())
    assert isinstance(decoder, TransformersDecoder)
    assert "neox is run by transformers" in caplog.text


@pytest.mark.parametrize(
    ("generation", "config", "more"),
    [
        (None, None, ()),
        ({"eos_token_id": [3, 5]}, 9, (3, 5)),
        ({"eos_token_id": 4}, None, (4,)),
        ({}, 9, (9,)),
        ({"eos_token_id": "x"}, None, ()),
        ({"eos_token_id": [-1, True, 6]}, None, (6,)),
    ],
)
def test_an_answer_ends_at_the_tokens_that_tokenizer_and_configs_name(tmp_path, generation, config, more):
    folder = tiny.llama_folder(tmp_path)
    tiny.change_json(folder / "config.json", eos_token_id=config)
    path = folder / GENERATION_NAME
    path.unlink(missing_ok=True)
    if generation is not None:
        path.write_text("{}", encoding="utf-8")
        tiny.change_json(path, **generation)
    assert end_tokens(folder, tiny.tokenizer()) == (tiny.tokenizer().eos_token_id, *more)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_a_damaged_generation_config_is_named(tmp_path, text):
    folder = tiny.llama_folder(tmp_path)
    (folder / GENERATION_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=GENERATION_NAME):
        end_tokens(folder, tiny.tokenizer())


ANSWERING = """
import sys
from pathlib import Path
from trimtab.models.decoders import load_decoder
from trimtab.models.tokenizer import read_tokenizer
folder = Path(sys.argv[1])
read_tokenizer(folder).apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
load_decoder(folder)
slow = {"transformers.configuration_utils", "transformers.modeling_utils", "torch._dynamo", "torch.distributed.tensor"}
sys.exit(f"imported {sorted(slow & sys.modules.keys())}" if slow & sys.modules.keys() else 0)
"""


def test_a_llama_answers_without_the_slow_half_of_the_libraries(tmp_path):
    folder = tiny.llama_folder(tmp_path)
    subprocess.run([sys.executable, "-c", ANSWERING, str(folder)], check=True)
