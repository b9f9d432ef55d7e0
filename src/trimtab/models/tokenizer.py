"""Loading a model folder's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.core.errors import FormatError


def read_tokenizer(folder: Path) -> Any:
    """Load a tokenizer; code that the folder may bring is never run.

    Raises:
        FormatError: the files are damaged or absent.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(folder, f"has a tokenizer that cannot be loaded ({problem})") from error
