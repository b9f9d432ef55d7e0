"""The specification of the AdamW step: one slice of one parameter at a time, in plain PyTorch.

Each line rounds once per element, in the order that the C kernel follows, so that both give the same bits.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from trimtab.kernels.ops.tables import dynamic_map, midpoints

BLOCK_SIZE = 256


@cache
def _tables(device: torch.device, signed: bool) -> tuple[Tensor, Tensor]:
    return dynamic_map(signed).to(device), midpoints(signed).to(device)


def adamw(
    param: Float[Tensor, " n"],
    grad: Float[Tensor, " n"],
    exp_avg: Float[Tensor, " n"],
    exp_avg_sq: Float[Tensor, " n"],
    numbers: list[float],
) -> None:
    """Move ``param`` against its gradient and both averages towards it; everything but ``grad`` is written.

    Source: arXiv:1711.05101, algorithm 2, with eps added to the corrected root and decay applied first.
    """
    beta1, rest1, beta2, rest2, eps, decay, step_size, root_scale = numbers
    slope = grad.float()
    exp_avg.copy_(beta1 * exp_avg + rest1 * slope)
    exp_avg_sq.copy_(beta2 * exp_avg_sq + rest2 * (slope * slope))
    exact_root = exp_avg_sq.double().sqrt().float()  # torch's float32 root may be off by one unit (MKL)
    root = root_scale * exact_root + eps
    param.copy_(decay * param.float() - (step_size * exp_avg) / root)


def decode(codes: UInt8[Tensor, " n"], absmax: Float[Tensor, " blocks"], *, signed: bool) -> Float[Tensor, " n"]:
    """Give the values of an 8-bit state: the map's entry times the largest magnitude of its block."""
    scales = absmax.repeat_interleave(BLOCK_SIZE)[: codes.numel()]
    return _tables(codes.device, signed)[0][codes.int()] * scales


def encode(values: Float[Tensor, " n"], *, signed: bool) -> tuple[UInt8[Tensor, " n"], Float[Tensor, " blocks"]]:
    """Round to the nearest entry of the dynamic map, in blocks of 256; a tie goes to the lower entry."""
    blocks = torch.nn.functional.pad(values, (0, -values.numel() % BLOCK_SIZE)).view(-1, BLOCK_SIZE)
    absmax = blocks.abs().amax(dim=1)
    scaled = blocks / torch.where(absmax > 0, absmax, 1.0)[:, None]
    codes = torch.bucketize(scaled, _tables(values.device, signed)[1]).to(torch.uint8)
    return codes.view(-1)[: values.numel()], absmax


def adamw_8bit(
    param: Float[Tensor, " n"],
    grad: Float[Tensor, " n"],
    codes: tuple[UInt8[Tensor, " n"], UInt8[Tensor, " n"]],
    absmax: tuple[Float[Tensor, " blocks"], Float[Tensor, " blocks"]],
    numbers: list[float],
) -> None:
    """Do the same with averages that are kept as 8-bit codes; the step itself sees them in float32.

    Source: arXiv:2110.02861, section 2; blocks of 256 as in bitsandbytes since 0.44.
    """
    averages = [decode(codes[i], absmax[i], signed=i == 0) for i in (0, 1)]
    adamw(param, grad, averages[0], averages[1], numbers)
    for i in (0, 1):
        new_codes, new_absmax = encode(averages[i], signed=i == 0)
        codes[i].copy_(new_codes)
        absmax[i].copy_(new_absmax)
