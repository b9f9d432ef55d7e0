"""Quantize one weight."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from trimtab.core.errors import NonFiniteError, RangeError
from trimtab.kernels import ops
from trimtab.quant.codebooks import Kind, check_kind, dynamic_map, levels
from trimtab.quant.state import QuantizedWeight


def quantize(
    weight: Float[Tensor, "..."],
    *,
    kind: Kind = "nf4",
    block_size: int = 64,
    double: bool = True,
    name: str = "",
) -> QuantizedWeight:
    """Round each weight to the nearest level of its block.

    Blocks run along the flattened (row-major) weight, each scaled by its own largest magnitude. "int8" has one scale
    a row instead, and takes no notice of ``block_size`` and ``double``.

    Args:
        weight: any shape, N elements, finite, float32, float16 or bfloat16; read, never written.
        kind: "nf4", "fp4", "int4" or "int8".
        block_size: weights per scale; a power of two from 32 to 4096.
        double: quantize the scales too, 256 at a time, around their mean.
        name: of the tensor, for messages.

    Returns:
        Codes and scales, on the weight's device.

    Raises:
        RangeError: the kind, block size or dtype is not allowed.
        NonFiniteError: a weight is NaN or infinite; the message names the tensor and the first such place.

    Source: arXiv:2305.14314, section 3 and appendix E; ties go to the lower level, as in published checkpoints.
    """
    check_kind(kind)
    weight = weight.detach()
    refuse_non_finite(weight, name)
    if kind == "int8":
        return _quantize_rows(weight)
    codes, absmax = ops.quantize_4bit(weight, levels(kind).to(weight.device), block_size=block_size)
    shape, dtype = tuple(weight.shape), weight.dtype
    if not double:
        return QuantizedWeight(codes, absmax, shape, dtype, kind, block_size)
    scale_codes, nested_absmax, offset = quantize_scales(absmax)
    return QuantizedWeight(codes, scale_codes, shape, dtype, kind, block_size, nested_absmax, offset)


def quantize_scales(
    absmax: Float32[Tensor, " blocks"],
) -> tuple[UInt8[Tensor, " blocks"], Float32[Tensor, " nested"], Float32[Tensor, ""]]:
    """Quantize the scales around their mean, 256 at a time (double quantization).

    Returns:
        Codes into ``dynamic_map(True)``, their scales, and the mean.

    Source: arXiv:2305.14314, section 3; the paper says FP8, published checkpoints hold the dynamic 8-bit map.
    """
    offset = absmax.mean() if absmax.numel() else absmax.new_zeros(())
    table = dynamic_map(True).to(absmax.device)
    codes, nested = ops.quantize_8bit(absmax - offset, table, block_size=ops.NESTED_BLOCK, grid=True)
    return codes, nested, offset


def refuse_non_finite(weight: Float[Tensor, "..."], name: str) -> None:
    """Stop at a weight that is NaN or infinite.

    Raises:
        NonFiniteError: with the tensor's name and the first index.
    """
    # A sum is finite unless a term is not (or it overflows): one pass and no mask in the usual case.
    if bool(torch.isfinite(weight.sum(dtype=torch.float32 if weight.dtype.is_floating_point else None))):
        return
    finite = torch.isfinite(weight)
    if bool(finite.all()):
        return
    flat = int(torch.nonzero(~finite.reshape(-1))[0])
    index = tuple(int(part) for part in torch.unravel_index(torch.tensor(flat), weight.shape))
    raise NonFiniteError(
        f"{name or 'the weight'}{list(index)} is {float(weight[index])}. Only finite weights can be quantized: "
        "check the file it came from, or train again from the last good checkpoint."
    )


def _quantize_rows(weight: Float[Tensor, "..."]) -> QuantizedWeight:
    if weight.ndim < 1:
        raise RangeError("kind='int8' needs at least one dimension. Use weight.view(1) for a single number.")
    cols = weight.shape[-1]
    rows = weight.numel() // cols if cols else 0
    codes, absmax = ops.quantize_rows(weight.reshape(rows, cols))
    return QuantizedWeight(codes, absmax, tuple(weight.shape), weight.dtype, "int8", max(cols, 1))
