"""A GPU's memory with pinned host memory behind it."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from trimtab.core.errors import ResourceError


class GpuHostTier:
    """A GPU's memory, with pinned host memory behind it; copies run on a stream of their own beside the step."""

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        """Work for one GPU; ``cuda`` offers streams and events as ``torch.cuda`` does."""
        self.device = device
        self._cuda = cuda
        self._stream = cuda.Stream(device)
        self._outside: list[Tensor] = []

    def allocate(self, size_bytes: int) -> UInt8[Tensor, " size_bytes"]:
        """Give zeros on the GPU; torch's OutOfMemoryError passes through."""
        return torch.zeros(size_bytes, dtype=torch.uint8, device=self.device)

    def reserve(self, sizes_bytes: list[int]) -> None:
        """Pin host memory for every page."""
        pin = self.device.type == "cuda"
        try:
            self._outside = [torch.zeros(size, dtype=torch.uint8, pin_memory=pin) for size in sizes_bytes]
        except (RuntimeError, MemoryError) as error:
            raise ResourceError(
                f"{sum(sizes_bytes):,} bytes of host memory cannot be pinned for optimizer pages: {error}. "
                "Close other programs, or use bits=8."
            ) from error

    def copy_out(self, page: int, frame: Tensor) -> Any:
        """Queue the copy behind the work on the frame that was queued so far."""
        host = self._outside[page]
        return self._copy(host, frame[: host.numel()])

    def copy_in(self, page: int, frame: Tensor) -> Any:
        """Queue the copy behind the work on the frame that was queued so far."""
        host = self._outside[page]
        return self._copy(frame[: host.numel()], host)

    def wait(self, copy: Any) -> None:
        """Hold back later work on the GPU until the copy is done; the program itself goes on."""
        self._cuda.current_stream(self.device).wait_event(copy)

    def scratch(self, size_bytes: int) -> UInt8[Tensor, " size_bytes"]:
        """Give host memory."""
        return torch.empty(size_bytes, dtype=torch.uint8)

    def recover(self) -> None:
        """Do nothing: copies on a stream do not fail one by one."""

    def close(self) -> None:
        """Give the host memory back."""
        self._cuda.synchronize(self.device)
        self._outside = []

    def _copy(self, target: Tensor, source: Tensor) -> Any:
        self._stream.wait_stream(self._cuda.current_stream(self.device))
        with self._cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)
            event = self._cuda.Event()
            event.record(self._stream)
        return event
