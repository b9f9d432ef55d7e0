"""Folders that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trimtab.core.errors import RangeError
from trimtab.store.durable import Disk, sync_tree


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Fill a hidden folder beside ``out`` and rename it once it is complete and on the medium.

    A failure leaves nothing behind.

    Raises:
        RangeError: ``out`` exists and is not empty, or came to be so meanwhile.
    """
    if out.exists() and any(out.iterdir()):
        raise RangeError(f"{out} exists already. Choose another folder, or remove it first.")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}-{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        _publish(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, out: Path) -> None:
    disk = Disk()
    sync_tree(disk, partial)
    try:
        disk.rename(partial, out)  # replaces an empty folder
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            problem = f"{out} was made by another process meanwhile"
            raise RangeError(f"{problem}. Use it, or choose another folder.") from error
        raise
    disk.sync_folder(out.parent)
