"""Exported GGUF files in llama.cpp itself: they load, and give the tokens and logits of transformers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from needs import need
from trimtab.core.job import result_of
from trimtab.models.export import GGUF_TYPES, export_model
from trimtab.models.load import Quantization, load_network
from trimtab.models.tokenizer import read_tokenizer
from trimtab.nn.lora import LoraSettings, add_lora
from trimtab.store.adapter import save_adapter

pytestmark = pytest.mark.peers

TEXTS = [
    "the trimtab and 2026",
    "naïve café 東京 🙂 \u00a0 ½ ٣٤",
    "  two  spaces\n\n\ttab\r\n it's we'll",
    "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n",
    "<pad>on<unk>the ",
    "f(x)=x**2 # 3.14e-10",
]
# Relative: llama.cpp rounds what enters a product to 16 bits, and to 8 where the weights have 8.
TOLERANCES = {"f16": 2e-3, "q8_0": 0.05}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
NETWORKS: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied": {"tied": True},
    "heads wider than the width": {"head_dim": 32},
    "one key a query": {"num_key_value_heads": tiny.HEADS},
    "another rotary base": {"rope_parameters": {"rope_type": "default", "rope_theta": 123_456.0}},
    "more rows than tokens": {"vocab_size": 320},
}


@pytest.fixture(scope="module", autouse=True)
def llama_cpp() -> Any:
    """The Python face of llama.cpp."""
    need(importlib.util.find_spec("llama_cpp") is not None, "llama-cpp-python", "Run `make bench`, which builds it.")
    import llama_cpp

    return llama_cpp


@pytest.fixture(scope="module", params=NETWORKS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama_folder(tmp_path_factory.mktemp("llama") / "model", **NETWORKS[request.param])


def exported(folder: Path, path: Path, dtype: str = "f16", **options: Any) -> Path:
    result_of(export_model(folder, path, form="gguf", dtype=dtype, **options))
    return path


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Let llama.cpp load a file."""
    from llama_cpp import Llama

    llama = Llama(str(path), n_ctx=128, n_threads=1, logits_all=True, verbose=False)
    try:
        yield llama
    finally:
        llama.close()


def tokens(llama: Any, text: str, *, add_bos: bool = False) -> list[int]:
    return list(llama.tokenize(text.encode(), add_bos=add_bos, special=True))


def logits(llama: Any, ids: Sequence[int]) -> torch.Tensor:
    llama.reset()
    llama.eval(ids)
    return torch.from_numpy(np.array(llama.scores[: len(ids)]))


def error(path: Path, net: torch.nn.Module) -> float:
    """The root mean square difference of the logits, over that of the network's own."""
    ids = tiny.token_ids(rows=1, length=48)
    with opened(path) as llama:
        theirs = logits(llama, ids[0].tolist())
    ours = tiny.logits(net, ids)[0]
    return float((theirs - ours).square().mean().sqrt() / ours.square().mean().sqrt())


@pytest.mark.parametrize("dtype", GGUF_TYPES)
def test_a_file_has_the_logits_of_the_network(folder: Path, tmp_path: Path, dtype: str) -> None:
    assert error(exported(folder, tmp_path / "x.gguf", dtype), load_network(folder)) < TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", GGUF_TYPES)
@pytest.mark.parametrize("quantization", [None, Quantization()], ids=["dense", "nf4"])
def test_an_adapter_is_in_the_file(tmp_path: Path, dtype: str, quantization: Quantization | None) -> None:
    source = tiny.llama_folder(tmp_path / "model")
    net = add_lora(load_network(source, quantization=quantization), LoraSettings(rank=4, alpha=8))
    tiny.tune(net, steps=8)
    save_adapter(net, tmp_path / "adapter")
    path = exported(source, tmp_path / "x.gguf", dtype, adapter=tmp_path / "adapter")
    limit = TOLERANCES[dtype] if quantization is None else 0.3
    assert error(path, net) < limit < error(exported(source, tmp_path / "bare.gguf", dtype), net)


@pytest.mark.parametrize("digits", [True, False], ids=["single digits", "runs of digits"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_has_the_tokens_of_transformers(tmp_path: Path, text: str, digits: bool) -> None:
    source = tiny.llama_folder(tmp_path / "model")
    if not digits:
        tiny.change_json(source / "tokenizer.json", pre_tokenizer=BYTE_LEVEL)
    with opened(exported(source, tmp_path / "x.gguf")) as llama:
        ids = read_tokenizer(source)(text, add_special_tokens=False).input_ids
        assert tokens(llama, text) == ids
        assert llama.detokenize(ids, special=True).decode() == text


@pytest.mark.parametrize("begins", [True, False])
def test_a_text_begins_as_in_transformers(tmp_path: Path, begins: bool) -> None:
    source = tiny.llama_folder(tmp_path / "model")
    if begins:
        _begin_with_bos(source)
    with opened(exported(source, tmp_path / "x.gguf")) as llama:
        assert tokens(llama, "on the", add_bos=True) == read_tokenizer(source)("on the").input_ids


def test_the_special_tokens_and_the_chat_template_are_there(tmp_path: Path) -> None:
    source = tiny.llama_folder(tmp_path / "model")
    tokenizer = read_tokenizer(source)
    with opened(exported(source, tmp_path / "x.gguf")) as llama:
        assert (llama.token_bos(), llama.token_eos()) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert llama.metadata["tokenizer.chat_template"] == tokenizer.chat_template


def _begin_with_bos(folder: Path) -> None:
    from tokenizers import processors

    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(folder)
