"""Loading a model folder's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import FormatError
from trimtab.models.config import CONFIG_NAME, MAX_CONFIG_BYTES
from trimtab.models.templates import check_template
from trimtab.store.documents import read_object

GENERIC_CLASSES: Final = ("PreTrainedTokenizerFast", "TokenizersBackend")
GENERIC_MODELS: Final = ("llama", "qwen3")
"""``model_type`` of networks whose folders get the generic class where they ask for it; others may get another."""
RUST_PANIC: Final = "PanicException"  # what the tokenizers library raises where it gives up; no Exception, no name


def read_tokenizer(folder: Path) -> Any:
    """Load a tokenizer; code that the folder may bring is never run.

    Raises:
        FormatError: the files are damaged or absent.
    """
    try:
        tokenizer = _door(folder).from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != RUST_PANIC:
            raise
        problem = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FormatError(folder, f"has a tokenizer that cannot be loaded ({problem:.200})") from error
    templates = getattr(tokenizer, "chat_template", None) or {}
    for template in templates.values() if isinstance(templates, dict) else [templates]:
        if not isinstance(template, str):
            raise FormatError(folder, "has a chat template that is no text")
        check_template(template, folder)
    return tokenizer


def _door(folder: Path) -> Any:
    """Choose the class that loads a tokenizer; the one that looks for it takes 2 s to import, the generic one none."""
    import transformers

    settings, config = folder / "tokenizer_config.json", folder / CONFIG_NAME
    if not (settings.is_file() and config.is_file() and (folder / "tokenizer.json").is_file()):
        return transformers.AutoTokenizer
    kind = read_object(settings, most_bytes=MAX_CONFIG_BYTES).get("tokenizer_class")
    model = read_object(config, most_bytes=MAX_CONFIG_BYTES).get("model_type")
    generic = kind in GENERIC_CLASSES and model in GENERIC_MODELS
    return transformers.PreTrainedTokenizerFast if generic else transformers.AutoTokenizer
