"""A Llama-family network's weights, as the compiled decoder takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.kernels.packed import Packed4bit

MOST_GROUPED = 48
"""Query heads that may share a key head: as many rows as a block of ``csrc/paged_attention.c`` has."""

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a block, in the order of ``csrc/llama.h``."""

PANEL_ROWS = 16
"""Rows of a panel of 8-bit integers."""

PANEL_BLOCK = 32
"""Columns of a panel that share a factor."""

PANEL_COLUMNS = 64
"""The columns of a matrix in panels are a multiple of this."""


@dataclass(frozen=True)
class Blocks8bit:
    """A matrix of 8-bit integers, (rows, cols), with float32 factors (rows, blocks) of blocks along each row."""

    codes: Tensor
    scales: Tensor


@dataclass(frozen=True)
class Panels8bit:
    """A matrix of 8-bit integers, in the order in which written tokens are multiplied fastest, never exactly.

    Attributes:
        codes: int8 (panels, cols / 2, PANEL_ROWS, 2); rows that fill up the last panel are zero.
        scales: float32 (panels, cols / PANEL_BLOCK, PANEL_ROWS).
        rows: of the matrix.
    """

    codes: Tensor
    scales: Tensor
    rows: int

    @classmethod
    def of(cls, blocks: Blocks8bit) -> Panels8bit:
        """Lay out a matrix with factors of blocks of PANEL_BLOCK; its columns are a multiple of PANEL_COLUMNS."""
        rows, cols = blocks.codes.shape
        more = -rows % PANEL_ROWS
        codes = torch.nn.functional.pad(blocks.codes, (0, 0, 0, more)).view(torch.int16)  # a pair of columns in each
        scales = torch.nn.functional.pad(blocks.scales, (0, 0, 0, more))
        panels = (rows + more) // PANEL_ROWS
        by_pair = codes.view(panels, PANEL_ROWS, cols // 2).transpose(1, 2).contiguous()
        return cls(by_pair.view(torch.int8).view(panels, cols // 2, PANEL_ROWS, 2), _turned(scales, panels), rows)


def _turned(scales: Tensor, panels: int) -> Tensor:
    return scales.view(panels, PANEL_ROWS, -1).transpose(1, 2).contiguous()


Weight: TypeAlias = Packed4bit | Blocks8bit | Panels8bit | Tensor
"""A matrix (outputs, inputs) in 4 bits, 8 bits, or plain float32, float16 or bfloat16."""


@dataclass(frozen=True)
class LinearWeights:
    """One linear layer: its weight and, where it has one, its bias (outputs,)."""

    weight: Weight
    bias: Tensor | None = None


@dataclass(frozen=True)
class LayerWeights:
    """One block: linear layers in the order of ``LINEARS``, and norms in float32."""

    linears: tuple[LinearWeights, ...]
    input_norm: Tensor
    middle_norm: Tensor
    query_norm: Tensor | None = None
    key_norm: Tensor | None = None


@dataclass(frozen=True)
class LlamaWeights:
    """A whole network, and the numbers that are not weights.

    Attributes:
        window: positions a token sees, itself among them; 0 for all before it.
        half_pages: whether keys and values are kept in float16 instead of float32.
        scale: what scores are multiplied by before the softmax.
        cosines: (positions, head / 2) of the rotary embedding; as many positions as will ever be read.
        sines: the same shape.
    """

    layers: tuple[LayerWeights, ...]
    embedding: LinearWeights
    head: LinearWeights
    final_norm: Tensor
    heads: int
    kv_heads: int
    head_width: int
    eps: float
    scale: float
    cosines: Tensor
    sines: Tensor
    window: int = 0
    half_pages: bool = False


@dataclass(frozen=True)
class Factors:
    """What an adapter adds to one linear layer: ``scale * (x a^T) b^T``."""

    a: Tensor
    b: Tensor
    scale: float


def check_heads(w: LlamaWeights) -> None:
    """Refuse numbers that the C code would divide by or count on in vain."""
    grouped = w.heads // w.kv_heads if w.kv_heads > 0 and w.heads % w.kv_heads == 0 else 0
    if not 0 < grouped <= MOST_GROUPED:
        raise RangeError(
            f"{w.heads} query heads on {w.kv_heads} key heads. Allowed: as many, or a multiple, at most {MOST_GROUPED} "
            "query heads for each key head. Use the decoder of transformers."
        )
    if w.head_width < 2 or w.head_width % 2:
        raise RangeError(f"a head has {w.head_width} elements. Allowed: even numbers. Use the decoder of transformers.")
    for name, table in (("cosines", w.cosines), ("sines", w.sines)):
        if table.shape != (len(w.cosines), w.head_width // 2):
            raise RangeError(
                f"{name} {list(table.shape)}. Allowed: (positions, {w.head_width // 2}), as many positions in both. "
                "Build cosines and sines from the same angles."
            )


def shape_of(weight: Weight) -> tuple[int, int]:
    """Give outputs and inputs."""
    if isinstance(weight, Packed4bit):
        return weight.shape
    if isinstance(weight, Panels8bit):
        return weight.rows, 2 * weight.codes.shape[1]
    rows, cols = (weight.codes if isinstance(weight, Blocks8bit) else weight).shape
    return rows, cols
