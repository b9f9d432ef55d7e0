"""Decides which implementation of an operator runs."""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType

from torch import Tensor

from trimtab.core.device import forced_kernels
from trimtab.core.errors import RangeError, did_you_mean
from trimtab.kernels import reference
from trimtab.kernels._library import library

NAMES = ("auto", "reference", "cpu", "triton")

_log = logging.getLogger("trimtab.kernels")


def implementation(device_type: str, impl: str = "auto") -> str:
    """Give the implementation that an operator uses for tensors on a device.

    Args:
        device_type: "cpu", "cuda", ...
        impl: "auto", or the name of one implementation.

    Returns:
        "reference" or "cpu".

    Raises:
        RangeError: the named implementation is unknown, was not built, or does not run on that device.
    """
    if impl == "auto":
        return automatic(device_type)
    return _named(device_type, impl)


@cache
def backend(device_type: str, impl: str) -> ModuleType:
    """Give the module whose functions, named like the operators, do the work; decided once."""
    if implementation(device_type, impl) == "cpu":
        from trimtab.kernels import cpu

        return cpu
    return reference


def pick(tensor: Tensor, impl: str, *, compiled: ModuleType, reference: ModuleType) -> ModuleType:
    """Give the one of two modules whose functions, named like the operators, do the work for a tensor."""
    return compiled if implementation(tensor.device.type, impl) == "cpu" else reference


@cache
def automatic(device_type: str) -> str:
    """Choose once a device: what the environment asks for, else compiled code where there is any."""
    if forced := forced_kernels():
        chosen = _named(device_type, forced) if forced != "auto" else _best(device_type)
    else:
        chosen = _best(device_type)
    _log.info("kernels on %s: %s", device_type, chosen)
    return chosen


def _best(device_type: str) -> str:
    return "cpu" if device_type == "cpu" and library() is not None else "reference"


def _named(device_type: str, impl: str) -> str:
    if impl not in NAMES:
        raise RangeError(f"impl={impl!r}: no such implementation. {did_you_mean(impl, NAMES)}")
    if impl == "triton":
        raise RangeError("impl='triton': there are no Triton kernels yet. Use impl='auto' or 'reference'.")
    if impl == "cpu" and device_type != "cpu":
        raise RangeError(f"impl='cpu': the tensors are on {device_type}. Move them to the CPU or use impl='auto'.")
    if impl == "cpu" and library() is None:
        raise RangeError(
            "impl='cpu': the C kernels were not built. Install a C compiler and run `pip install .` again, "
            "or use impl='reference'."
        )
    return impl
