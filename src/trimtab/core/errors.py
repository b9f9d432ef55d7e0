"""The one tree of errors.

Every message says what was received, what is allowed and what to do next. The command line turns a ``UsageError``
into exit code 2 and every other ``TrimtabError`` into exit code 1, each as one line without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class TrimtabError(Exception):
    """Anything that trimtab itself reports; its text is meant to be read by the person at the keyboard."""


class UsageError(TrimtabError):
    """The request cannot be carried out as it was put."""


class RangeError(UsageError, ValueError):
    """A value lies outside what is allowed."""


class MissingError(UsageError):
    """Something that was named does not exist."""


class LockedError(UsageError):
    """Another process is already at work in the same folder."""


class FormatError(TrimtabError):
    """A file is damaged, hostile, or not what its name says."""

    def __init__(self, path: str | Path, problem: str, *, offset: int | None = None, remedy: str = "") -> None:
        """State where the trouble lies.

        Args:
            path: the file that was being read.
            problem: what was found and what was expected there.
            offset: position in the file, in bytes, where that is known.
            remedy: what to do next, as a sentence.
        """
        place = f"{path}" if offset is None else f"{path}, byte {offset}"
        super().__init__(f"{place}: {problem}." + (f" {remedy}" if remedy else ""))
        self.path, self.problem = Path(path), problem
        self.offset = offset


class DataError(TrimtabError):
    """Rows of a data set cannot be used."""


class NonFiniteError(TrimtabError):
    """A weight, scale, loss or gradient is NaN or infinite."""


class CheckpointError(TrimtabError):
    """No checkpoint can be written, or none that was written can be trusted."""


class ResourceError(TrimtabError):
    """The machine lacks memory, disk space or a tool that the work needs."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Name what is near to a misspelt word.

    Returns:
        A sentence that ends with the allowed words, or with the nearest of them where some are near.
    """
    words = sorted(allowed)
    near = get_close_matches(given, words, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(repr(word) for word in near)}?"
    return f"Allowed: {', '.join(words)}." if words else "Nothing is available here."
