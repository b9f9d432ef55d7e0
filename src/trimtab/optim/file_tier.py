"""Main memory with a file behind it."""

from __future__ import annotations

import errno
import os
import tempfile
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from trimtab.core.errors import ResourceError
from trimtab.optim.tiers import is_out_of_memory

FILE_PREFIX = "trimtab-pages-"


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
        self._offsets = list(accumulate(sizes_bytes, initial=0))[:-1]
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
