"""Codebooks and quantized weights: 4 bits in blocks, 8 bits in rows, and scales quantized a second time."""

from trimtab.quant.blockwise import quantize, quantize_scales, refuse_non_finite
from trimtab.quant.codebooks import FOUR_BIT_KINDS, KINDS, Kind, dynamic_map, levels
from trimtab.quant.state import QuantizedWeight

__all__ = [
    "FOUR_BIT_KINDS",
    "KINDS",
    "Kind",
    "QuantizedWeight",
    "dynamic_map",
    "levels",
    "quantize",
    "quantize_scales",
    "refuse_non_finite",
]
