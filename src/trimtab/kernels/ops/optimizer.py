"""The AdamW step over slices of many parameters, with 32-bit or blockwise 8-bit state."""

from __future__ import annotations

from math import sqrt

from jaxtyping import Int64
from torch import Tensor

from trimtab.kernels import optimizer_cpu, optimizer_reference
from trimtab.kernels.choose import implementation
from trimtab.kernels.registry import register

BLOCK_SIZE = optimizer_reference.BLOCK_SIZE


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
    impl: str = "auto",
) -> None:
    """Step slices of parameters in place.

    Args:
        params: contiguous, all of one type (float32, bfloat16, float16) and device; written.
        grads: of the parameters' shapes and type, contiguous; read.
        state: flat; either both averages in float32, or uint8 codes of both followed by the float32 scales of both,
            one per 256 codes; written. A 8-bit slice starts at a multiple of 256 in parameter and state.
        slices: one row each: index of the parameter, start within it, start within the state, length. Slices do not
            overlap. On the CPU.
        numbers: of ``adamw_numbers``.
        impl: "auto" takes the C kernel on the CPU where it was built.

    Raises:
        RangeError: ``impl`` is unknown, was not built, or does not run on that device.
    """
    if params:
        _adamw(params, grads, state, slices, numbers, implementation(params[0].device.type, impl))


def _step(
    params: list[Tensor], grads: list[Tensor], state: list[Tensor], slices: Tensor, numbers: list[float], impl: str
) -> None:
    if impl == "cpu":
        optimizer_cpu.step(params, grads, state, slices, numbers)
    else:
        _step_by_reference(params, grads, state, slices, numbers)


def _fake_step(
    params: list[Tensor], grads: list[Tensor], state: list[Tensor], slices: Tensor, numbers: list[float], impl: str
) -> None:
    """Change nothing: all results are written in place."""


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


_adamw = register(
    "adamw_(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] state, Tensor slices, float[] numbers, str impl) -> ()",
    _step,
    _fake_step,
)
