"""The levels that codes stand for."""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float32
from torch import Tensor

from trimtab.core.errors import RangeError, did_you_mean
from trimtab.kernels.ops.tables import dynamic_map as dynamic_map

Kind: TypeAlias = Literal["nf4", "fp4", "int4", "int8"]

FOUR_BIT_KINDS = ("nf4", "fp4", "int4")
KINDS = (*FOUR_BIT_KINDS, "int8")

# Quantiles of the normal distribution, as arXiv:2305.14314, appendix E lists them; its equation 4 gives others.
_NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
_FP4_MAGNITUDES = (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0)
_INT4_MAGNITUDES = (7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0)


def check_kind(kind: str) -> None:
    """Refuse a name that is no kind of quantization.

    Raises:
        RangeError: with the names that exist.
    """
    if kind not in KINDS:
        raise RangeError(f"kind={kind!r}: no such quantization. {did_you_mean(kind, KINDS)}")


@cache
def levels(kind: Kind) -> Float32[Tensor, "16"]:
    """Give the 16 levels of a 4-bit kind in code order, within [-1, 1].

    The tensor is shared: read it, never write it.

    Raises:
        RangeError: the kind is unknown, or is "int8", which has even steps and no table.

    Source: NF4: arXiv:2305.14314, appendix E. FP4: sign, two exponent bits, one mantissa bit, with its own order.
    """
    check_kind(kind)
    if kind == "nf4":
        return torch.tensor(_NF4, dtype=torch.float32)
    if kind == "fp4":
        values = torch.tensor([*_FP4_MAGNITUDES, *(-value if value else 0.0 for value in _FP4_MAGNITUDES)])
        return values / values.max()
    if kind == "int4":
        values = torch.tensor([*_INT4_MAGNITUDES, *(-value if value else 0.0 for value in reversed(_INT4_MAGNITUDES))])
        return values / values.max()
    raise RangeError(f"kind={kind!r} has no table of levels. Allowed: {', '.join(FOUR_BIT_KINDS)}.")
