"""The compiled decoder of the Llama family. Its twin, the specification, is transformers' own forward pass."""

from trimtab.kernels.llama_cpu import (
    LINEARS,
    PAGE_TOKENS,
    Blocks8bit,
    Factors,
    LayerWeights,
    LinearWeights,
    LlamaWeights,
    NativeLlama,
    NativeRead,
    Weight,
    available,
    page_table,
)

__all__ = [
    "LINEARS",
    "PAGE_TOKENS",
    "Blocks8bit",
    "Factors",
    "LayerWeights",
    "LinearWeights",
    "LlamaWeights",
    "NativeLlama",
    "NativeRead",
    "Weight",
    "available",
    "page_table",
]
