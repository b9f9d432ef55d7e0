"""The compiled kernels; what has no compiled form yet runs on the reference."""

from trimtab.kernels.reference import (
    dequantize_4bit,
    dequantize_8bit,
    dequantize_rows,
    linear_4bit,
    linear_4bit_input_grad,
    linear_8bit,
    linear_8bit_input_grad,
    quantize_4bit,
    quantize_8bit,
    quantize_rows,
)

__all__ = [
    "dequantize_4bit",
    "dequantize_8bit",
    "dequantize_rows",
    "linear_4bit",
    "linear_4bit_input_grad",
    "linear_8bit",
    "linear_8bit_input_grad",
    "quantize_4bit",
    "quantize_8bit",
    "quantize_rows",
]
