"""Hands a whole Llama-family network to ``csrc/llama.c``."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import Array, Structure, byref, c_float, c_int, c_int32, c_int64, c_void_p, cast, pointer
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trimtab.core.errors import RangeError, ResourceError
from trimtab.kernels import checks, cpu
from trimtab.kernels._library import function
from trimtab.kernels.choose import implementation
from trimtab.kernels.llama_weights import (
    LINEARS,
    PANEL_BLOCK,
    PANEL_COLUMNS,
    PANEL_ROWS,
    Blocks8bit,
    Factors,
    LayerWeights,
    LinearWeights,
    LlamaWeights,
    Panels8bit,
    check_heads,
    shape_of,
)
from trimtab.kernels.packed import Packed4bit

PAGE_TOKENS = 32
"""Tokens a page of keys and values holds."""

RANK_UNIT = 16
"""Ranks are padded with zeros to a multiple of this."""

_FOUR_BIT, _EIGHT_BIT, _PANELS = 4, 8, 9

_CPU = torch.device("cpu")

_PAGE_NUMBERS = "trimtab_page_numbers", (c_int64, c_int64, c_int64), c_int64
_READ = "trimtab_llama_read", (c_void_p, c_void_p, c_int64, c_void_p, c_int, c_int, c_int), c_int


class _Matrix(Structure):
    _fields_ = (
        ("values", c_void_p),
        ("scales", c_void_p),
        ("bias", c_void_p),
        ("rows", c_int64),
        ("cols", c_int64),
        ("block", c_int64),
        ("kind", c_int),
    )


class _LowRank(Structure):
    _fields_ = (("a", c_void_p), ("b", c_void_p), ("rank", c_int64), ("scale", c_float))


class _Layer(Structure):
    _fields_ = (
        ("linears", _Matrix * len(LINEARS)),
        ("input_norm", c_void_p),
        ("middle_norm", c_void_p),
        ("query_norm", c_void_p),
        ("key_norm", c_void_p),
    )


class _Attention(Structure):
    _fields_ = (
        ("heads", c_int64),
        ("kv_heads", c_int64),
        ("head", c_int64),
        ("window", c_int64),
        ("scale", c_float),
        ("half", c_int),
    )


class _Llama(Structure):
    _fields_ = (
        ("layers", c_int64),
        ("width", c_int64),
        ("inner", c_int64),
        ("attention", _Attention),
        ("eps", c_float),
        ("layer", c_void_p),
        ("final_norm", c_void_p),
        ("embedding", _Matrix),
        ("head", _Matrix),
        ("cosines", c_void_p),
        ("sines", c_void_p),
        ("adapters", c_void_p),
    )


class _Read(Structure):
    _fields_ = (
        ("tokens", c_void_p),
        ("count", c_int64),
        ("first", c_int64),
        ("pages", c_void_p),
        ("adapter", c_int64),
        ("wanted", c_int64),
        ("written", c_int64),
    )


@dataclass
class NativeRead:
    """Successive tokens of one sequence.

    Attributes:
        tokens: ids; checked by the caller to be in the vocabulary.
        first: position of the first of them.
        pages: where its pages are, as ``page_table`` gives it; enough for all tokens.
        adapter: number of an adapter, or -1.
        wanted: of how many tokens at the end logits are wanted.
        written: whether this is one token that the network wrote; such reads stand before all others. They are
            computed in a way of their own, so that a row has the same bits in any company.
    """

    tokens: Sequence[int]
    first: int
    pages: Array[Any]
    adapter: int = -1
    wanted: int = 1
    written: bool = False


@dataclass
class NativeLlama:
    """A network in the form that the C code reads. Borrows the weights' memory and keeps them alive."""

    weights: LlamaWeights
    adapters: list[dict[tuple[int, str], Factors]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check every number and tensor, and lay out the structures.

        Raises:
            RangeError: this processor lacks AVX2, the heads do not fit together, or a tensor has the wrong type, shape
                or layout or is not on the CPU.
        """
        if not available():
            raise RangeError("the compiled decoder needs AVX2 and the C kernels. Use the decoder of transformers.")
        self._alive: list[Any] = []
        w = self.weights
        check_heads(w)
        self.vocabulary, self.width = shape_of(w.head.weight)
        self.inner = shape_of(w.layers[0].linears[LINEARS.index("gate_proj")].weight)[0]
        self._layers = (_Layer * len(w.layers))(*(self._layer(layer) for layer in w.layers))
        self._lora = self._adapters()
        self._llama = _Llama(
            len(w.layers),
            self.width,
            self.inner,
            _Attention(w.heads, w.kv_heads, w.head_width, w.window, w.scale, w.half_pages),
            w.eps,
            cast(self._layers, c_void_p),
            self._vector("final_norm", w.final_norm, self.width),
            self._matrix(w.embedding, (self.vocabulary, self.width)),
            self._matrix(w.head, (self.vocabulary, self.width)),
            self._vector("cosines", w.cosines, w.cosines.numel()),
            self._vector("sines", w.sines, w.sines.numel()),
            None if self._lora is None else cast(self._lora, c_void_p),
        )

    @property
    def page_numbers(self) -> int:
        """Numbers in a page, float16 where the weights say ``half_pages`` and else float32."""
        w = self.weights
        return int(function(*_PAGE_NUMBERS)(len(w.layers), w.kv_heads, w.head_width))

    def read(self, reads: Sequence[NativeRead], *, exact: bool) -> Tensor:
        """Read tokens, keeping keys and values in the pages.

        Args:
            reads: one for each sequence.
            exact: do not round the activations of written tokens to 15 bits where they meet weights of 4 bits or a head
                of 8.

        Returns:
            Logits, float32 (all wanted tokens, vocabulary), in the order of the reads.

        Raises:
            ResourceError: no memory for the scratch space.
        """
        logits = torch.empty(sum(read.wanted for read in reads), self.vocabulary)
        tokens = [(c_int32 * len(read.tokens))(*read.tokens) for read in reads]
        native = (_Read * len(reads))(
            *(
                _Read(
                    cast(ids, c_void_p),
                    len(ids),
                    read.first,
                    cast(read.pages, c_void_p),
                    read.adapter,
                    read.wanted,
                    read.written,
                )
                for ids, read in zip(tokens, reads, strict=True)
            )
        )
        done = function(*_READ)(
            byref(self._llama), native, len(reads), logits.data_ptr(), exact, cpu.level(), torch.get_num_threads()
        )
        if not done:
            raise ResourceError("no memory for a pass of the decoder. Close other programs, or read fewer tokens.")
        return logits

    def _layer(self, layer: LayerWeights) -> _Layer:
        w, head = self.weights, self.weights.head_width
        query, keys = w.heads * head, w.kv_heads * head
        shapes = (
            (query, self.width),
            (keys, self.width),
            (keys, self.width),
            (self.width, query),
            (self.inner, self.width),
            (self.inner, self.width),
            (self.width, self.inner),
        )
        linears = [self._matrix(linear, shape) for linear, shape in zip(layer.linears, shapes, strict=True)]
        return _Layer(
            (_Matrix * len(LINEARS))(*linears),
            self._vector("input_norm", layer.input_norm, self.width),
            self._vector("middle_norm", layer.middle_norm, self.width),
            self._vector("query_norm", layer.query_norm, head),
            self._vector("key_norm", layer.key_norm, head),
        )

    def _matrix(self, linear: LinearWeights, shape: tuple[int, int]) -> _Matrix:
        weight, bias = linear.weight, self._vector("bias", linear.bias, shape[0])
        values = weight if isinstance(weight, Tensor) else weight.codes
        checks.same_device(_CPU, weight=values, scales=getattr(weight, "scales", None))
        if shape_of(weight) != shape:
            raise RangeError(f"a weight has shape {shape_of(weight)}. Allowed here: {shape}, as the other layers ask.")
        if isinstance(weight, Packed4bit):
            checks.packed_4bit(weight)
            native = cpu.weight4(weight)
            self._alive += [weight, native]
            return _Matrix(cast(pointer(native), c_void_p), None, bias, *shape, 0, _FOUR_BIT)
        if isinstance(weight, Blocks8bit):
            blocks = weight.scales.shape[1]
            checks.plain("codes", weight.codes, torch.int8, shape[0] * shape[1])
            checks.plain("scales", weight.scales, torch.float32, shape[0] * blocks)
            if not blocks or shape[1] % blocks:
                raise RangeError(f"{blocks} blocks in rows of {shape[1]}. Allowed: blocks of one size.")
            self._alive.append(weight)
            block = shape[1] // blocks
            return _Matrix(weight.codes.data_ptr(), weight.scales.data_ptr(), bias, *shape, block, _EIGHT_BIT)
        if isinstance(weight, Panels8bit):
            if shape[1] % PANEL_COLUMNS:
                raise RangeError(f"panels of {shape[1]} columns. Allowed: a multiple of {PANEL_COLUMNS}.")
            filled = -(-shape[0] // PANEL_ROWS) * PANEL_ROWS
            checks.plain("codes", weight.codes, torch.int8, filled * shape[1])
            checks.plain("scales", weight.scales, torch.float32, filled * (shape[1] // PANEL_BLOCK))
            self._alive.append(weight)
            return _Matrix(weight.codes.data_ptr(), weight.scales.data_ptr(), bias, *shape, PANEL_BLOCK, _PANELS)
        checks.floats("weight", weight)
        checks.plain("weight", weight, weight.dtype, shape[0] * shape[1], remedy="Give it as .contiguous().")
        self._alive.append(weight)
        return _Matrix(weight.data_ptr(), None, bias, *shape, 0, cpu.DTYPE_CODES[weight.dtype])

    def _vector(self, name: str, values: Tensor | None, count: int) -> int | None:
        if values is None:
            return None
        checks.plain(name, values, torch.float32, count, remedy="Give it as .float().contiguous().")
        checks.same_device(_CPU, **{name: values})
        self._alive.append(values)
        return values.data_ptr()

    def _adapters(self) -> Array[_LowRank] | None:
        if not self.adapters:
            return None
        flat = []
        for adapter in self.adapters:
            for layer in range(len(self.weights.layers)):
                flat += [self._low_rank(adapter.get((layer, name)), layer, name) for name in LINEARS]
        return (_LowRank * len(flat))(*flat)

    def _low_rank(self, factors: Factors | None, layer: int, name: str) -> _LowRank:
        if factors is None:
            return _LowRank(None, None, 0, 0.0)
        outputs, inputs = shape_of(self.weights.layers[layer].linears[LINEARS.index(name)].weight)
        rank = -(-factors.a.shape[0] // RANK_UNIT) * RANK_UNIT
        a, b = torch.zeros(rank, inputs), torch.zeros(outputs, rank)
        a[: factors.a.shape[0]] = factors.a
        b[:, : factors.b.shape[1]] = factors.b
        self._alive += [a, b]
        return _LowRank(a.data_ptr(), b.data_ptr(), rank, factors.scale)


def available() -> bool:
    """Tell whether the compiled decoder runs here."""
    return implementation("cpu") == "cpu" and cpu.level() != cpu.PORTABLE


def page_table(pages: Sequence[Tensor]) -> Array[Any]:
    """Lay out where pages are; the tensors must stay alive while the table is used."""
    return (c_void_p * len(pages))(*(page.data_ptr() for page in pages))
