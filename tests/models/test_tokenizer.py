"""The short way to a tokenizer leads to the same one."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

import tiny
from trimtab.models.tokenizer import GENERIC_CLASSES, GENERIC_MODELS, read_tokenizer


@pytest.mark.parametrize("kind", [*GENERIC_CLASSES, None, "LlamaTokenizerFast", "Unheard"])
@pytest.mark.parametrize("model", [*GENERIC_MODELS, "qwen2", "mistral", "gpt_neox"])
def test_a_tokenizer_is_the_one_that_transformers_chooses(tmp_path, model, kind):
    tiny.tokenizer().save_pretrained(tmp_path)
    tiny.change_json(tmp_path / "tokenizer_config.json", tokenizer_class=kind)
    (tmp_path / "config.json").write_text(f'{{"model_type": "{model}"}}', encoding="utf-8")
    ours, theirs = read_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert type(ours) is type(theirs)
    assert ours.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
    assert ours("the trimtab 12").input_ids == theirs("the trimtab 12").input_ids
    assert ours.special_tokens_map == theirs.special_tokens_map
