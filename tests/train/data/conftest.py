"""Tiny real tokenizers with the chat templates of the families, and files of rows made on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors, trainers
from tokenizers import decoders as token_decoders
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{% set shift = 1 if messages[0]['role'] == 'system' else 0 %}"
    "{% for message in messages[shift:] %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user, assistant') }}{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' if shift and loop.first else '' %}"
    "{{ bos_token + '[INST] ' + system + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI3 = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
TIGHT = PHI3.replace("\n", "")
TAGGED = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_GENERATION_PROMPT = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
)
THINKING = (
    "{% for message in messages %}"
    "{% set thought = '<think>\n\n</think>\n\n' if message['role'] == 'assistant' and loop.last else '' %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + thought + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
OWN_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}" + CHATML
)
DATED = "{{ 'Today is ' + strftime_now('%d %b %Y') + '\n' }}" + CHATML
OPENS_A_THOUGHT = CHATML.replace("'<|im_start|>assistant\n'", "'<|im_start|>assistant\n<think>\n'")

TEMPLATES = {
    "chatml": CHATML,
    "llama2": LLAMA2,
    "llama3": LLAMA3,
    "gemma": GEMMA,
    "phi3": PHI3,
    "tight": TIGHT,
    "tagged": TAGGED,
    "no-generation-prompt": NO_GENERATION_PROMPT,
    "thinking": THINKING,
    "own-system": OWN_SYSTEM,
    "dated": DATED,
    "opens-a-thought": OPENS_A_THOUGHT,
    None: None,
}

SPECIALS = (
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>",
    "<end_of_turn>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>",
)  # fmt: skip

CORPUS = (
    "hello there, how are you? I am well, thank you. and now? bye then, see you soon.",
    "Below is an instruction. ### Human: hello ### Assistant: hello system user assistant model be brief",
    "What is two plus two? It is four. the the the and and of of in in to to",
)


@cache
def _bytes(family: str | None, *, adds_bos: bool = False) -> Any:
    """Train a byte-level BPE of a few hundred tokens; every text comes back from it as it was."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = token_decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(CORPUS, trainer)
    return _dressed(core, family, adds_bos=adds_bos)


@cache
def _words(family: str | None, *, adds_bos: bool = False, adds_eos: bool = False) -> Any:
    """Make a tokenizer of whole words that carry the space before them, as Llama 2's and T5's do."""
    core = Tokenizer(models.WordLevel(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    core.decoder = token_decoders.Metaspace(prepend_scheme="first")
    words = [*" ".join(CORPUS).split(), "[INST]", "[/INST]", "well", "then"]
    core.train_from_iterator(words, trainers.WordLevelTrainer(special_tokens=["<unk>"], show_progress=False))
    return _dressed(core, family, adds_bos=adds_bos, adds_eos=adds_eos)


def _dressed(core: Tokenizer, family: str | None, *, adds_bos: bool = False, adds_eos: bool = False) -> Any:
    core.add_special_tokens([AddedToken(word, special=True) for word in ("<s>", "</s>", "<pad>", *SPECIALS)])
    if adds_bos or adds_eos:
        single = f"{'<s> ' if adds_bos else ''}$A{' </s>' if adds_eos else ''}"
        ids = [(word, core.token_to_id(word)) for word in ("<s>", "</s>")]
        core.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    made = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    made.chat_template = TEMPLATES[family]
    return made


@pytest.fixture(scope="session")
def byte_tokenizer() -> Callable[..., Any]:
    """Give a maker of byte-level tokenizers: ``byte_tokenizer("chatml", adds_bos=True)``."""
    return lambda family=None, *, adds_bos=False: _bytes(family, adds_bos=adds_bos)


@pytest.fixture(scope="session")
def word_tokenizer() -> Callable[..., Any]:
    """Give a maker of whole-word tokenizers: ``word_tokenizer("llama2")``."""
    return lambda family=None, *, adds_bos=False, adds_eos=False: _words(family, adds_bos=adds_bos, adds_eos=adds_eos)


@pytest.fixture
def rows_file(tmp_path: Path) -> Callable[..., Path]:
    """Write rows, each an object or a raw line, as a JSONL file."""

    def write(*rows: Any, name: str = "rows.jsonl", end: bytes = b"\n") -> Path:
        path = tmp_path / name
        raw = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        path.write_bytes(b"\n".join(raw) + end)
        return path

    return write
