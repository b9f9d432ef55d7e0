"""What an answer may look like: one of several texts, a regular expression, or JSON of a schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, TypeAlias

from trimtab.core.errors import RangeError

MAX_CHOICES: Final = 10_000
MAX_GRAMMAR_CHARACTERS: Final = 200_000


@dataclass(frozen=True)
class Choices:
    """The answer is one of these texts, spelt with the tokens that the tokenizer itself would take.

    Attributes:
        texts: 1 to 10000, none empty.
    """

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the number.

        Raises:
            RangeError: there are none, too many, or an empty one.
        """
        if not 1 <= len(self.texts) <= MAX_CHOICES:
            raise RangeError(f"{len(self.texts)} choices: allowed is 1 to {MAX_CHOICES}.")
        for text in self.texts:
            _check_text("choice", text)


@dataclass(frozen=True)
class Regex:
    """The whole answer matches a regular expression (Rust's dialect: no look-around, no back-references)."""

    pattern: str

    def __post_init__(self) -> None:
        """Check the length.

        Raises:
            RangeError: it is empty, very long, or no text that UTF-8 can write.
        """
        _check_text("regular expression", self.pattern)


@dataclass(frozen=True)
class JsonSchema:
    """The answer is JSON that a schema allows, without white space between its parts.

    Attributes:
        schema: as JSON text; ``{}`` allows any JSON.
    """

    schema: str

    def __post_init__(self) -> None:
        """Check that it is a JSON object.

        Raises:
            RangeError: it is not, or is very long.
        """
        _check_text("JSON schema", self.schema)
        try:
            document = json.loads(self.schema)
        except (ValueError, RecursionError) as error:
            raise RangeError(f"the JSON schema is no JSON ({error}). Give an object.") from error
        if not isinstance(document, dict):
            raise RangeError(f"the JSON schema is a {type(document).__name__}: allowed is an object.")


Constraint: TypeAlias = Choices | Regex | JsonSchema


def _check_text(what: str, text: str) -> None:
    if not 0 < len(text) <= MAX_GRAMMAR_CHARACTERS:
        raise RangeError(f"a {what} of {len(text)} characters: allowed is 1 to {MAX_GRAMMAR_CHARACTERS}.")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise RangeError(f"a {what} with half of a surrogate pair: allowed is what UTF-8 can write.")
