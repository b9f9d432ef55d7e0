"""The compiled decoder of the Llama family. Its twin, the specification, is transformers' own forward pass."""

from trimtab.kernels.llama_cpu import PAGE_TOKENS, NativeLlama, NativeRead, available, page_table
from trimtab.kernels.llama_weights import (
    LINEARS,
    MOST_GROUPED,
    PANEL_BLOCK,
    PANEL_COLUMNS,
    Blocks8bit,
    Factors,
    LayerWeights,
    LinearWeights,
    LlamaWeights,
    Panels8bit,
    Weight,
)

__all__ = [
    "LINEARS",
    "MOST_GROUPED",
    "PAGE_TOKENS",
    "PANEL_BLOCK",
    "PANEL_COLUMNS",
    "Blocks8bit",
    "Factors",
    "LayerWeights",
    "LinearWeights",
    "LlamaWeights",
    "NativeLlama",
    "NativeRead",
    "Panels8bit",
    "Weight",
    "available",
    "page_table",
]
