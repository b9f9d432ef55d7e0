"""Opens the compiled CPU kernels, where they were built."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch


@cache
def library() -> ctypes.CDLL | None:
    """Open the C library, or give None where it was not built.

    It is opened after torch, so that both use one OpenMP runtime and ``torch.set_num_threads`` counts for both.
    """
    assert torch.get_num_threads() > 0
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_cpu{suffix}")
        if path.exists():
            return ctypes.CDLL(str(path))
    return None
