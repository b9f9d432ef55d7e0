"""How much memory this process uses and has used."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_STATUS = Path("/proc/self/status")
_GROUP = Path("/sys/fs/cgroup")
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of mallopt(3), GNU C library
GIVEN_BACK_BYTES = 1 << 20
"""Size from which memory goes back to the system as soon as it is freed, once that was asked for."""


def resident_bytes() -> int:
    """Give the resident memory of this process; where the system does not tell, its highest so far."""
    return _status_bytes("VmRSS:") or _peak_of_process()


def peak_bytes(device: torch.device) -> int:
    """Give the highest use so far: of the GPU where the work runs on one, else the process's resident memory."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return _status_bytes("VmHWM:") or _peak_of_process()


def available_bytes() -> int:
    """Give the memory that can still be taken without swapping, or without passing the limit of a container."""
    left = _left_in_group()
    machine = _of_machine()
    return machine if left is None else min(machine, left)


def free_on_gpu_bytes() -> int:
    """Give the free memory of the current GPU; of the machine where there is none, so that a plan can be made ahead."""
    import torch

    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else available_bytes()


def give_back_when_freed() -> bool:
    """Let every large tensor on the CPU go back to the system when it is freed, from now on in this process.

    Otherwise the C library keeps what was freed, in gaps between what is still held: at 4 rows of 512 tokens half of
    all memory. The price is that new memory must be cleared page by page, about a fifth of a training step's time.

    Returns:
        Whether this system's library can be told; another one may do so anyway.
    """
    import ctypes

    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    return tell is not None and bool(tell(_MMAP_THRESHOLD, GIVEN_BACK_BYTES))


def _of_machine() -> int:
    import os

    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _left_in_group() -> int | None:
    """Give what the control group (version 2) of a container leaves; None where it sets no limit.

    Pages of files that the system can drop at any time do not count as used.
    """
    try:
        limit, used = ((_GROUP / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
        counters = dict(line.split() for line in (_GROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(int(limit) - int(used) + int(counters["inactive_file"]), 0) if limit.isdecimal() else None
    except (OSError, ValueError, KeyError):
        return None


def _status_bytes(key: str) -> int:
    if not _STATUS.exists():
        return 0
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0


def _peak_of_process() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
