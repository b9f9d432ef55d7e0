"""Ending an answer where a stop text appears, wherever tokens begin and end."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """Lets text through up to the first stop text, and holds back what may be the beginning of one.

    Attributes:
        found: whether a stop text appeared; nothing is let through afterwards.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """Take the texts, none of them empty."""
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Take more text; give what is certain to be part of the answer."""
        if self.found or not self._stops:
            return "" if self.found else text
        self._held += text
        begins = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        self.found = bool(begins)
        cut = min(begins) if begins else len(self._held) - self._may_begin()
        certain, self._held = self._held[:cut], self._held[cut:]
        return certain

    def finish(self) -> str:
        """Give what was held back, once no more text comes."""
        rest, self._held = "" if self.found else self._held, ""
        return rest

    def _may_begin(self) -> int:
        """Give the length of the longest ending that a stop text begins with."""
        return max(_overlap(self._held, stop) for stop in self._stops)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest ending of ``text`` that is a beginning of ``stop``, and not all of it."""
    at = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while at >= 0:
        if stop.startswith(text[at:]):
            return len(text) - at
        at = text.find(stop[0], at + 1)
    return 0
