"""Where pages go when they do not fit: a file for the CPU, pinned host memory for a GPU."""

from __future__ import annotations

import errno
import os
import tempfile
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor

from trimtab.core.errors import ResourceError

FILE_PREFIX = "trimtab-pages-"
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


class CpuFileTier:
    """Main memory, with an unnamed file behind it; one background thread does the reading and writing.

    The file has no name, so that it vanishes with the process however that ends. Frames are read into and written
    from directly, which keeps the paged-out state out of the process's resident memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Choose where the file will lie.

        Args:
            folder: on a disk (not in memory, as /tmp is on some systems); the system's temporary folder if None.
        """
        self.folder = Path(folder) if folder is not None else Path(tempfile.gettempdir())
        self._offsets: list[int] = []
        self._sizes: list[int] = []
        self._failure: OSError | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._close: Callable[[], Any] | None = None

    def allocate(self, size_bytes: int) -> UInt8[Tensor, " size_bytes"]:
        """Give zeros that take no memory before they are written to."""
        try:
            return torch.zeros(size_bytes, dtype=torch.uint8)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise MemoryError(str(error)) from error
            raise

    def reserve(self, sizes_bytes: list[int]) -> None:
        """Create the file at its full size, so that a full disk shows now and not in the middle of a step."""
        self._sizes = sizes_bytes
        self._offsets = [sum(sizes_bytes[:page]) for page in range(len(sizes_bytes))]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = _unnamed_file(self.folder)
            self._close = weakref.finalize(self, os.close, self._file)
            os.posix_fallocate(self._file, 0, sum(sizes_bytes))
        except OSError as error:
            self.close()
            raise self._explain(error) from error
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trimtab-pages")

    def copy_out(self, page: int, frame: Tensor) -> Future[None]:
        """Queue the write for the background thread."""
        return self._queue(self._write, page, frame)

    def copy_in(self, page: int, frame: Tensor) -> Future[None]:
        """Queue the read for the background thread."""
        return self._queue(self._read, page, frame)

    def wait(self, copy: Future[None]) -> None:
        """Block until the copy is done."""
        try:
            copy.result()
        except OSError as error:
            raise self._explain(error) from error

    def scratch(self, size_bytes: int) -> UInt8[Tensor, " size_bytes"]:
        """Map a file of its own, which vanishes with the tensor."""
        try:
            descriptor, name = tempfile.mkstemp(prefix=FILE_PREFIX, dir=self.folder)
            try:
                os.posix_fallocate(descriptor, 0, size_bytes)
                return torch.from_file(name, shared=True, size=size_bytes, dtype=torch.uint8)
            finally:
                os.close(descriptor)
                Path(name).unlink()
        except OSError as error:
            raise self._explain(error) from error

    def recover(self) -> None:
        """Forget the failure."""
        self._failure = None

    def close(self) -> None:
        """Finish what is queued and drop the file."""
        if self._worker is not None:
            self._worker.shutdown(wait=True)
        if self._close is not None:
            self._close()

    def _queue(self, work: Callable[[memoryview, int], None], page: int, frame: Tensor) -> Future[None]:
        assert self._worker is not None
        content = memoryview(frame.numpy().data)[: self._sizes[page]]
        return self._worker.submit(self._attempt, work, content, self._offsets[page])

    def _attempt(self, work: Callable[[memoryview, int], None], content: memoryview, offset: int) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            work(content, offset)
        except OSError as error:
            self._failure = error
            raise

    def _write(self, content: memoryview, offset: int) -> None:
        done = 0
        while done < len(content):
            done += os.pwrite(self._file, content[done:], offset + done)

    def _read(self, content: memoryview, offset: int) -> None:
        done = 0
        while done < len(content):
            count = os.preadv(self._file, [content[done:]], offset + done)
            if count == 0:
                raise OSError(errno.EIO, "the page file ends early")
            done += count

    def _explain(self, error: OSError) -> ResourceError:
        total = sum(self._sizes)
        return ResourceError(
            f"Optimizer pages ({total:,} bytes) cannot be kept in {self.folder}: {error.strerror}. "
            "Free space there, name a folder on another disk (page_folder), or raise budget_bytes."
        )


def _unnamed_file(folder: Path) -> int:
    descriptor, name = tempfile.mkstemp(prefix=FILE_PREFIX, dir=folder)
    Path(name).unlink()
    return descriptor


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
