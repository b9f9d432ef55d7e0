"""What the page store asks of memory and of the place behind it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor

OUT_OF_MEMORY_TEXTS = ("not enough memory", "out of memory", "can't allocate memory")


@runtime_checkable
class Tier(Protocol):
    """Memory that holds the resident pages, and the slower place behind it, where every page starts as zeros.

    Copies run in the order in which they were asked for. Once one fails, those behind it fail untried until
    ``recover`` is called, so that no page is overwritten in memory before it is safe outside.
    """

    def allocate(self, size_bytes: int) -> UInt8[Tensor, " size_bytes"]:
        """Give a frame of zeros for one page.

        Raises:
            MemoryError: there is no room; torch.OutOfMemoryError and the RuntimeError of torch's CPU allocator count
                as well.
        """
        ...

    def reserve(self, sizes_bytes: list[int]) -> None:
        """Make room outside for every page.

        Raises:
            ResourceError: there is no such room.
        """
        ...

    def copy_out(self, page: int, frame: Tensor) -> Any:
        """Begin to store what a frame holds as a page."""
        ...

    def copy_in(self, page: int, frame: Tensor) -> Any:
        """Begin to fill a frame with a page."""
        ...

    def wait(self, copy: Any) -> None:
        """Let what the caller does next see the copy done.

        Raises:
            ResourceError: the copy failed.
        """
        ...

    def scratch(self, size_bytes: int) -> UInt8[Tensor, " size_bytes"]:
        """Give room outside, as a tensor on the CPU, that is freed with the tensor.

        Raises:
            ResourceError: there is no such room.
        """
        ...

    def recover(self) -> None:
        """Take copies again after one failed; all before it have been waited for."""
        ...

    def close(self) -> None:
        """Give back everything outside."""
        ...


def is_out_of_memory(error: BaseException) -> bool:
    """Tell a failed allocation from other errors; torch's CPU allocator raises a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in OUT_OF_MEMORY_TEXTS)
