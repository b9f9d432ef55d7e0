"""The AdamW step over slices of many parameters, with 32-bit or blockwise 8-bit state."""

from __future__ import annotations

from math import sqrt
from typing import Literal, TypeAlias

import torch
from jaxtyping import Int64
from torch import Tensor

from trimtab.core.device import forced_kernels
from trimtab.core.errors import RangeError
from trimtab.kernels import optimizer_cpu, optimizer_reference

BLOCK_SIZE = optimizer_reference.BLOCK_SIZE
STATE_PARTS = (2, 4)
Implementation: TypeAlias = Literal["auto", "reference", "cpu"]


def adamw_numbers(lr: float, betas: tuple[float, float], eps: float, weight_decay: float, step: int) -> list[float]:
    """Work out what a step needs from the settings, in double precision; both bias corrections are in it.

    Args:
        lr: learning rate of this step.
        step: counts from 1.

    Returns:
        beta1, 1 - beta1, beta2, 1 - beta2, eps, factor on the parameter, factor on the change, factor on the root.
    """
    beta1, beta2 = betas
    step_size = lr / (1 - beta1**step)
    return [beta1, 1 - beta1, beta2, 1 - beta2, eps, 1 - lr * weight_decay, step_size, 1 / sqrt(1 - beta2**step)]


def adamw_(
    params: list[Tensor],
    grads: list[Tensor],
    state: list[Tensor],
    *,
    slices: Int64[Tensor, "slices 4"],
    numbers: list[float],
    impl: Implementation = "auto",
) -> None:
    """Step slices of parameters in place.

    Args:
        params: contiguous, all of one type and device; written.
        grads: of the parameters' shapes and type, contiguous; read.
        state: flat; either both averages in float32, or uint8 codes of both followed by the float32 scales of both,
            one per 256 codes; written. A 8-bit slice starts at a multiple of 256 in parameter and state.
        slices: one row each: index of the parameter, start within it, start within the state, length. Slices do not
            overlap. On the CPU.
        numbers: of ``adamw_numbers``.
        impl: "auto" takes the C kernel for float32 and bfloat16 on the CPU where it was built.

    Raises:
        RangeError: ``impl`` cannot serve these tensors.
    """
    if params:
        _adamw(params, grads, state, slices, numbers, choose(impl, params[0]))


def choose(impl: str, param: Tensor) -> str:
    """Name the implementation that will run for such a parameter."""
    if impl == "auto":
        impl = forced_kernels() or "auto"
    fits = param.device.type == "cpu" and param.dtype in optimizer_cpu.DTYPES and optimizer_cpu.has_kernel()
    if impl in ("auto", "triton"):
        return "cpu" if fits else "reference"
    if impl == "reference" or (impl in ("cpu", "plain") and fits):
        return impl
    raise RangeError(
        f"impl={impl!r} cannot step a {param.dtype} parameter on {param.device}. "
        "Allowed: auto, reference, and cpu for float32 and bfloat16 on the CPU where the C kernels are built "
        "(`python setup.py build_ext --inplace`)."
    )


@torch.library.custom_op("trimtab::adamw_", mutates_args={"params", "state"})
def _adamw(
    params: list[Tensor],
    grads: list[Tensor],
    state: list[Tensor],
    slices: Tensor,
    numbers: list[float],
    impl: str,
) -> None:
    if impl == "reference":
        _step_by_reference(params, grads, state, slices, numbers)
    else:
        optimizer_cpu.step(params, grads, state, slices, numbers, wide=impl == "cpu")


@_adamw.register_fake
def _(
    params: list[Tensor],
    grads: list[Tensor],
    state: list[Tensor],
    slices: Tensor,
    numbers: list[float],
    impl: str,
) -> None:
    if len(state) not in STATE_PARTS:
        raise RangeError(f"The state has {len(state)} parts. Allowed: 2 (32-bit) or 4 (8-bit).")


def _step_by_reference(
    params: list[Tensor], grads: list[Tensor], state: list[Tensor], slices: Tensor, numbers: list[float]
) -> None:
    for index, start, at, length in slices.tolist():
        param, grad = (side[index].view(-1)[start : start + length] for side in (params, grads))
        if len(state) == 2:
            optimizer_reference.adamw(param, grad, state[0][at : at + length], state[1][at : at + length], numbers)
            continue
        codes = (state[0][at : at + length], state[1][at : at + length])
        blocks = slice(at // BLOCK_SIZE, at // BLOCK_SIZE - (-length // BLOCK_SIZE))
        optimizer_reference.adamw_8bit(param, grad, codes, (state[2][blocks], state[3][blocks]), numbers)
