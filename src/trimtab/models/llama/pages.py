"""Memory for keys and values, in pages that states of several sequences may share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

SPARE_BYTES = 64 << 20
"""Memory of free pages that is kept for the next sequence instead of being given back."""


class PagePool:
    """Counts who uses which page.

    Attributes:
        page_bytes: size of one page.
    """

    def __init__(self, page_numbers: int, dtype: torch.dtype) -> None:
        """Start without pages; each will hold so many numbers of a type."""
        self.page_bytes = page_numbers * dtype.itemsize
        self._numbers, self._dtype = page_numbers, dtype
        self._users: dict[int, int] = {}
        self._spare: list[Tensor] = []

    @property
    def used(self) -> int:
        """Pages that somebody uses."""
        return len(self._users)

    def take(self) -> Float[Tensor, " numbers"]:
        """Give a page with one user; what it holds is not defined."""
        page = self._spare.pop() if self._spare else torch.empty(self._numbers, dtype=self._dtype)
        self._users[id(page)] = 1
        return page

    def share(self, page: Tensor) -> Tensor:
        """Add a user to a page."""
        self._users[id(page)] += 1
        return page

    def drop(self, page: Tensor) -> None:
        """Take a user from a page, and the page back when it was the last."""
        self._users[id(page)] -= 1
        if not self._users[id(page)]:
            del self._users[id(page)]
            if (len(self._spare) + 1) * self.page_bytes <= SPARE_BYTES:
                self._spare.append(page)

    def own(self, page: Tensor) -> Tensor:
        """Give a page that nobody else uses, with the same contents; the caller's use of the old one ends."""
        if self._users[id(page)] == 1:
            return page
        copy = self.take()
        copy.copy_(page)
        self.drop(page)
        return copy
