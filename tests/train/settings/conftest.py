"""What is said of a word that cannot be a setting."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trimtab.core.errors import UsageError
from trimtab.train.settings import read_settings

Refusal = Callable[[str, type[UsageError]], str]


@pytest.fixture
def refusal() -> Refusal:
    """Give the message with which a word is refused; the setting's name must stand in it."""

    def of(word: str, kind: type[UsageError]) -> str:
        with pytest.raises(kind) as refused:
            read_settings(words=[word])
        message = str(refused.value)
        assert word.partition("=")[0] in message
        return message

    return of
