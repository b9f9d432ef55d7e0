"""Quantized weights: codebooks, blockwise codes, double quantization, and the immutable value that holds them."""
