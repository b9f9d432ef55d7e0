"""Every kernel, one function each; the only part of this room that others import."""

from trimtab.kernels.attention_reference import visible as visible_keys
from trimtab.kernels.choose import implementation
from trimtab.kernels.ops.attention import LARGEST_HEAD, attention
from trimtab.kernels.ops.codec4 import dequantize_4bit, quantize_4bit
from trimtab.kernels.ops.codec8 import dequantize_8bit, dequantize_rows, quantize_8bit, quantize_rows
from trimtab.kernels.ops.fused import gated_silu, rms_norm
from trimtab.kernels.ops.linear4 import linear_4bit, linear_4bit_input_grad
from trimtab.kernels.ops.linear8 import linear_8bit, linear_8bit_input_grad
from trimtab.kernels.ops.low_rank import low_rank_down, low_rank_grads, product_4bit_beside
from trimtab.kernels.packed import BLOCK_SIZES, NESTED_BLOCK, Packed4bit
from trimtab.kernels.reference import INT8_STEP

__all__ = [
    "BLOCK_SIZES",
    "INT8_STEP",
    "LARGEST_HEAD",
    "NESTED_BLOCK",
    "Packed4bit",
    "attention",
    "dequantize_4bit",
    "dequantize_8bit",
    "dequantize_rows",
    "gated_silu",
    "implementation",
    "linear_4bit",
    "linear_4bit_input_grad",
    "linear_8bit",
    "linear_8bit_input_grad",
    "low_rank_down",
    "low_rank_grads",
    "product_4bit_beside",
    "quantize_4bit",
    "quantize_8bit",
    "quantize_rows",
    "rms_norm",
    "visible_keys",
]
