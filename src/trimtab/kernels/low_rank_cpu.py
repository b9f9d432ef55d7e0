"""Calls ``csrc/low_rank.c`` and the product with something beside; twins of ``low_rank_reference``."""

from __future__ import annotations

import torch
from torch import Tensor

from trimtab.core.errors import ResourceError
from trimtab.kernels import cpu
from trimtab.kernels import low_rank_reference as reference
from trimtab.kernels.packed import Packed4bit


def low_rank_down(x: Tensor, a: Tensor) -> Tensor:
    """See ``low_rank_reference``."""
    if cpu.level() == cpu.PORTABLE or not x.numel():
        return reference.low_rank_down(x, a)
    x, a = x.contiguous(), a.contiguous()
    low = x.new_empty(x.shape[0], a.shape[0])
    _call("trimtab_low_rank_down", x, a, *x.shape, a.shape[0], low)
    return low


def low_rank_grads(grad: Tensor, x: Tensor, low: Tensor, b: Tensor, scaling: float) -> tuple[Tensor, Tensor, Tensor]:
    """See ``low_rank_reference``."""
    if cpu.level() == cpu.PORTABLE or not x.numel() or not grad.numel():
        return reference.low_rank_grads(grad, x, low, b, scaling)
    grad, x, low, b = grad.contiguous(), x.contiguous(), low.contiguous(), b.contiguous()
    rank, inputs = b.shape[1], x.shape[1]
    low_grad, a_grad, b_grad = torch.empty_like(low), x.new_empty(rank, inputs), torch.empty_like(b)
    sizes = *x.shape, b.shape[0], rank
    _call("trimtab_low_rank_grads", grad, x, low, b, *sizes, scaling, low_grad, a_grad, b_grad)
    return low_grad, a_grad, b_grad


def product_4bit_beside(
    x: Tensor, packed: Packed4bit, bias: Tensor | None, low: Tensor, factor: Tensor, scaling: float, turned: bool
) -> Tensor:
    """See ``low_rank_reference``."""
    if cpu.lacks_product(x, packed):
        return reference.product_4bit_beside(x, packed, bias, low, factor, scaling, turned)
    beside = low.contiguous(), factor.contiguous(), scaling
    return cpu.product(x, packed, bias, turned=turned, beside=beside)


def _call(name: str, *arguments: Tensor | float) -> None:
    plain = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    if not cpu.function(name)(*plain, cpu.level(), torch.get_num_threads()):
        raise ResourceError("no memory for an adapter's scratch space. Close other programs, or use a lower rank.")
