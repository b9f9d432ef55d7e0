"""Loading a model folder's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import FormatError
from trimtab.models.templates import check_template

RUST_PANIC: Final = "PanicException"  # what the tokenizers library raises where it gives up; no Exception, no name


def read_tokenizer(folder: Path) -> Any:
    """Load a tokenizer; code that the folder may bring is never run.

    Raises:
        FormatError: the files are damaged or absent.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
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
