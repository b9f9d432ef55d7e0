"""Byte-level BPE tokenizers between GGUF metadata and ``tokenizer.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.store.documents import read_object
from trimtab.store.gguf import GgufFile

CONTROL: Final = 3
USER_DEFINED: Final = 4
NORMAL: Final = 1
UNUSED: Final = 5
MAX_FILE_BYTES: Final = 1 << 28
# How each named pre-tokenizer splits text before the byte-level step. What llama.cpp does where no name is given, or
# "default", is neither of these two ways.
SPLITS_DIGITS: Final = {"smollm": True, "gpt-2": False, "starcoder": True, "refact": True}


def write_tokenizer(gguf: GgufFile, folder: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` from a GGUF file's metadata.

    Raises:
        FormatError: the tokenizer is of another kind, or its lists do not fit together.
    """
    data = gguf.metadata
    kind, flavour = data.get("tokenizer.ggml.model"), data.get("tokenizer.ggml.pre", "")
    if not isinstance(kind, str) or kind != "gpt2" or not isinstance(flavour, str) or flavour not in SPLITS_DIGITS:
        known = ", ".join(SPLITS_DIGITS)
        found = f"a {kind!r:.80} tokenizer (tokenizer.ggml.pre {flavour!r:.80})"
        raise FormatError(gguf.path, f"holds {found}; readable are gpt2 ones: {known}")
    tokens = _strings(gguf, "tokenizer.ggml.tokens")
    merges = [tuple(line.split(" ")) for line in _strings(gguf, "tokenizer.ggml.merges")]
    if any(len(pair) != 2 for pair in merges) or len(set(tokens)) != len(tokens):
        raise FormatError(gguf.path, "its merges are no pairs, or a token is there twice")
    types = _types(gguf, len(tokens))
    try:
        tokenizer = _build(tokens, merges, types, splits_digits=SPLITS_DIGITS[flavour])
    except Exception as error:
        raise FormatError(gguf.path, f"its merges and tokens do not fit together ({error})") from error
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(_config(gguf, tokens), indent=2), encoding="utf-8")


def read_tokenizer_metadata(folder: Path, *, size: int) -> dict[str, Any]:
    """Give the GGUF metadata of the byte-level BPE tokenizer of a transformers folder.

    Args:
        folder: with tokenizer.json and tokenizer_config.json.
        size: rows of the network's embedding; numbers that mean no token are filled with unused ones.

    Raises:
        MissingError: the folder has no tokenizer.
        FormatError: its files are damaged.
        RangeError: its tokenizer is of another kind, or has more tokens than the network.
    """
    document, config = _read_json(folder / "tokenizer.json"), _read_json(folder / "tokenizer_config.json")
    try:
        return _metadata(folder, document, config, size)
    except (LookupError, TypeError, AttributeError) as error:
        raise FormatError(folder / "tokenizer.json", f"is no tokenizer that can be understood ({error})") from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingError(f"{path} does not exist. An export to GGUF needs the model's tokenizer beside it.")
    return read_object(path, most_bytes=MAX_FILE_BYTES)


def _metadata(folder: Path, document: dict[str, Any], config: dict[str, Any], size: int) -> dict[str, Any]:
    model = document.get("model", {})
    if model.get("type") != "BPE":
        raise RangeError(f"{folder}: only byte-level BPE tokenizers can be written to GGUF. Export to safetensors.")
    added = {item["content"]: item for item in document.get("added_tokens", ())}
    vocabulary = dict(model["vocab"]) | {content: item["id"] for content, item in added.items()}
    names = {index: token for token, index in vocabulary.items()}
    if max(names, default=0) >= size:
        raise RangeError(f"{folder}: token {max(names)} is beyond the network's {size}. Use the model's own tokenizer.")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    return _special_ids(folder, config, vocabulary) | {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": _flavour(folder, document),
        "tokenizer.ggml.tokens": [names.get(index, f"[PAD{index}]") for index in range(size)],
        "tokenizer.ggml.token_type": [_type(names.get(index), added) for index in range(size)],
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.add_bos_token": _begins(document, config),
    }


def _type(token: str | None, added: dict[str, dict[str, Any]]) -> int:
    if token is None:
        return UNUSED
    return NORMAL if token not in added else CONTROL if added[token]["special"] else USER_DEFINED


def _flavour(folder: Path, document: dict[str, Any]) -> str:
    """Name how text is split before the byte-level step, as llama.cpp knows it; another way would give other tokens."""
    splitter = document.get("pre_tokenizer") or {"type": "nothing"}
    steps = splitter["pretokenizers"] if splitter["type"] == "Sequence" else [splitter]
    kinds, last = [step["type"] for step in steps], steps[-1]
    plain = last["type"] == "ByteLevel" and not last["add_prefix_space"] and last.get("use_regex", True)
    if plain and document.get("normalizer") is None:
        if kinds == ["ByteLevel"]:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
            return "smollm"
    raise RangeError(
        f"{folder}: its tokenizer splits text by {' + '.join(kinds)} in a way that has no name in GGUF here. "
        "Allowed: ByteLevel, or single Digits and ByteLevel, without a normalizer. Export to safetensors."
    )


def _begins(document: dict[str, Any], config: dict[str, Any]) -> bool:
    """Tell whether the tokenizer puts its first special token before every text."""
    step = document.get("post_processor") or {}
    steps = step["processors"] if step.get("type") == "Sequence" else [step]
    singles = [one["single"] for one in steps if one.get("type") == "TemplateProcessing"]
    return bool(config.get("add_bos_token", False)) or any("SpecialToken" in single[0] for single in singles)


def _special_ids(folder: Path, config: dict[str, Any], vocabulary: dict[str, int]) -> dict[str, Any]:
    """Name the special tokens by number, and bring the chat template along."""
    roles = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    special: dict[str, Any] = {}
    for role, key in roles.items():
        token = config.get(key)
        content = token.get("content") if isinstance(token, dict) else token
        if content in vocabulary:
            special[f"tokenizer.ggml.{role}_token_id"] = vocabulary[content]
    template = config.get("chat_template")
    jinja = folder / "chat_template.jinja"
    if template is None and jinja.is_file():
        template = jinja.read_text(encoding="utf-8")
    if isinstance(template, str):
        special["tokenizer.chat_template"] = template
    return special


def _build(tokens: list[str], merges: list[Any], types: list[int], *, splits_digits: bool) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if splits_digits else []
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    added = [(t, kind) for t, kind in zip(tokens, types, strict=True) if kind in (CONTROL, USER_DEFINED)]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in added if k == CONTROL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t, k in added if k == USER_DEFINED])
    return tokenizer


def _config(gguf: GgufFile, tokens: list[str]) -> dict[str, Any]:
    def named(role: str) -> str | None:
        index = gguf.metadata.get(f"tokenizer.ggml.{role}_token_id")
        return tokens[index] if type(index) is int and 0 <= index < len(tokens) else None

    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": named("bos"),
        "eos_token": named("eos"),
        "unk_token": named("unknown"),
        "pad_token": named("padding"),
        "add_bos_token": bool(gguf.metadata.get("tokenizer.ggml.add_bos_token", False)),
        "clean_up_tokenization_spaces": False,
        "model_max_length": gguf.metadata.get("llama.context_length"),
    }
    template = gguf.metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise FormatError(gguf.path, "its chat template is no text")
    return {key: value for key, value in (config | {"chat_template": template}).items() if value is not None}


def _types(gguf: GgufFile, count: int) -> list[int]:
    types = gguf.metadata.get("tokenizer.ggml.token_type")
    if types is None:
        return [NORMAL] * count
    if not isinstance(types, np.ndarray) or len(types) != count:
        found = len(types) if isinstance(types, np.ndarray | list) else types
        raise FormatError(gguf.path, f"has {count} tokens but {found!r:.80} token types")
    return [int(kind) for kind in types.tolist()]


def _strings(gguf: GgufFile, key: str) -> list[str]:
    value = gguf.metadata.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise FormatError(gguf.path, f"metadata {key} is not a list of strings")
    return value
