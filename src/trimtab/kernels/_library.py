"""Opens the compiled CPU kernels, where they were built."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

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


@cache
def function(name: str, arguments: tuple[Any, ...], result: Any = None) -> Callable[..., Any]:
    """Give a function of the library that was built.

    Args:
        name: as ``csrc/kernels.h`` or ``csrc/llama.h`` declares it.
        arguments: their ctypes, in order.
        result: its ctype; None for none.
    """
    found = library()
    assert found is not None
    typed = found[name]
    typed.argtypes, typed.restype = arguments, result
    return typed
