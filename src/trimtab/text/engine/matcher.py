"""Constraints at work: which tokens may come next, and whether the answer may end."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, Protocol, runtime_checkable

import numpy
import torch
from jaxtyping import Bool
from torch import Tensor

from trimtab.core.errors import RangeError, TrimtabError
from trimtab.text.engine.constraint import Choices, Constraint, JsonSchema, Regex

MOST_COMPILED: Final = 64
UNSUPPORTED: Final = {
    "regular expression": "Allowed is Rust's dialect: no look-around, no back-references.",
    "JSON schema": "Allowed is JSON Schema without remote $ref and without contradictions.",
}
# White space without end is what weak models like best.
COMPACT: Final[Any] = {"whitespace_flexible": False}


class GrammarError(TrimtabError):
    """A grammar cannot go on."""


@runtime_checkable
class Matcher(Protocol):
    """Follows one answer through its constraint."""

    @property
    def complete(self) -> bool:
        """Whether what was written so far is a whole answer."""

    @property
    def finished(self) -> bool:
        """Whether it is, and nothing could follow."""

    def allowed(self) -> Bool[Tensor, " vocabulary"]:
        """Tell which tokens may follow; the end tokens only where the answer is complete."""

    def advance(self, token: int) -> None:
        """Take a token that was allowed and is no end token."""


class Constraints:
    """Prepares constraints for one tokenizer; for any thread, each of which compiles for itself."""

    def __init__(self, tokenizer: Any, *, vocabulary: int, ends: Sequence[int]) -> None:
        """Remember what constraints are made of; nothing is built yet.

        Args:
            tokenizer: of transformers; grammars need a fast one.
            vocabulary: number of logits.
            ends: tokens that end an answer.
        """
        self._tokenizer, self._vocabulary, self._ends = tokenizer, vocabulary, tuple(ends)
        self._grammar_tokenizer: Any = None
        self._building = threading.Lock()
        self._compiled: OrderedDict[Constraint, Any] = OrderedDict()
        self._looking_up = threading.Lock()

    def matcher(self, constraint: Constraint) -> Matcher:
        """Begin an answer.

        Raises:
            RangeError: the constraint cannot be understood, or not with this tokenizer.
        """
        compiled = self._remembered(constraint)
        if compiled is None:
            compiled = self._compile(constraint)
            self._remember(constraint, compiled)
        if isinstance(constraint, Choices):
            return _ChoiceMatcher(compiled, self._vocabulary, self._ends)
        return _GrammarMatcher(compiled.deep_copy(), self._vocabulary)

    def _remembered(self, constraint: Constraint) -> Any:
        with self._looking_up:
            if constraint in self._compiled:
                self._compiled.move_to_end(constraint)
            return self._compiled.get(constraint)

    def _remember(self, constraint: Constraint, compiled: Any) -> None:
        """Keep what was compiled, in place of what was not asked for the longest."""
        with self._looking_up:
            self._compiled[constraint] = compiled
            self._compiled.move_to_end(constraint)
            while len(self._compiled) > MOST_COMPILED:
                self._compiled.popitem(last=False)

    def _compile(self, constraint: Constraint) -> Any:
        if isinstance(constraint, Choices):
            return self._spell(constraint)
        what = "regular expression" if isinstance(constraint, Regex) else "JSON schema"
        try:
            compiled = self._grammar(constraint)
            _GrammarMatcher(compiled.deep_copy(), self._vocabulary).allowed()
        except (ValueError, GrammarError) as error:
            problem = next(iter(str(error).splitlines()), "")
            raise RangeError(f"the {what} cannot be used: {problem:.300}. {UNSUPPORTED[what]}") from error
        return compiled

    def _grammar(self, constraint: Regex | JsonSchema) -> Any:
        from llguidance import LLMatcher

        if isinstance(constraint, Regex):
            grammar = LLMatcher.grammar_from_regex(constraint.pattern)
        else:
            grammar = LLMatcher.grammar_from_json_schema(constraint.schema, overrides=COMPACT)
        compiled = LLMatcher(self._grammars(), grammar, log_level=0)
        if compiled.is_error():
            raise GrammarError(str(compiled.get_error()))
        return compiled

    def _spell(self, choices: Choices) -> _Branch:
        """Put the tokens of all choices into one tree."""
        root = _Branch()
        for text in choices.texts:
            tokens: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
            if not tokens or max(tokens) >= self._vocabulary:
                raise RangeError(f"choice {text!r:.80}: this tokenizer and network have no tokens for it.")
            branch = root
            for token in tokens:
                branch = branch.next.setdefault(token, _Branch())
            branch.complete = True
        return root

    def _grammars(self) -> Any:
        """Give the tokenizer in the form that the grammars' library wants, built once."""
        with self._building:
            if self._grammar_tokenizer is None:
                self._grammar_tokenizer = self._build()
            return self._grammar_tokenizer

    def _build(self) -> Any:
        from llguidance.hf import from_tokenizer

        size = max(self._vocabulary, len(self._tokenizer))
        try:
            return from_tokenizer(self._tokenizer, n_vocab=size, eos_token=list(self._ends))
        except (ValueError, TypeError, AttributeError) as error:
            raise GrammarError(
                f"grammars need a fast tokenizer with an end token ({error!s:.200}); choices do not"
            ) from error


class _Branch:
    """A point in the tree of choices."""

    def __init__(self) -> None:
        self.next: dict[int, _Branch] = {}
        self.complete = False


class _ChoiceMatcher:
    def __init__(self, root: _Branch, vocabulary: int, ends: tuple[int, ...]) -> None:
        self._at, self._vocabulary, self._ends = root, vocabulary, list(ends)

    @property
    def complete(self) -> bool:
        return self._at.complete

    @property
    def finished(self) -> bool:
        return self._at.complete and not self._at.next

    def allowed(self) -> Bool[Tensor, " vocabulary"]:
        mask = torch.zeros(self._vocabulary, dtype=torch.bool)
        mask[[*self._at.next, *(self._ends if self.complete else ())]] = True
        return mask

    def advance(self, token: int) -> None:
        self._at = self._at.next[token]


class _GrammarMatcher:
    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary

    @property
    def complete(self) -> bool:
        return bool(self._matcher.is_accepting())

    @property
    def finished(self) -> bool:
        return bool(self._matcher.is_stopped() and self._matcher.is_accepting())

    def allowed(self) -> Bool[Tensor, " vocabulary"]:
        bits = numpy.frombuffer(self._matcher.compute_bitmask(), dtype=numpy.uint8)
        mask = torch.from_numpy(numpy.unpackbits(bits, count=self._vocabulary, bitorder="little")).bool()
        if self._matcher.is_error():
            reason = next(iter(str(self._matcher.get_error()).splitlines()), "")
            raise GrammarError(f"the grammar gave up ({reason:.300}): nothing can be written, or it is too complex.")
        if not mask.any():
            raise GrammarError("the grammar leaves no token of this vocabulary. Change the constraint.")
        return mask

    def advance(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            raise GrammarError(f"the grammar refused token {token}: {self._matcher.get_error():.300}.")
