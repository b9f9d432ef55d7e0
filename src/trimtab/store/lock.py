"""One process at a time in a run folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from trimtab.core.errors import LockedError, ResourceError

LOCK_NAME = "lock"


class RunLock:
    """Holds a folder for this process while entered; the system frees it however the process ends."""

    def __init__(self, folder: Path) -> None:
        """Choose the folder; it is made where it is absent."""
        self.path = Path(folder) / LOCK_NAME
        self._descriptor: int | None = None

    def __enter__(self) -> RunLock:
        """Take the folder.

        Raises:
            LockedError: another process has it; the message names its PID.
            ResourceError: the file system knows no locks.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise self._explain(error, holder) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the folder; the file stays, since deleting it could free another process's lock."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def _explain(self, error: OSError, holder: str) -> Exception:
        folder = self.path.parent
        if isinstance(error, BlockingIOError):
            who = f"Process {holder}" if holder else "Another process"
            return LockedError(
                f"{who} is at work in {folder}. Wait until it ends, stop it, or choose another folder with --out."
            )
        return ResourceError(
            f"{folder} cannot be locked ({error.strerror}), so two runs could damage each other. "
            "Choose a folder on a local disk with --out."
        )
