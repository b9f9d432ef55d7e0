"""Takes the weights of a network apart for the lean decoder, without copying what can be borrowed."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from trimtab.kernels import ops
from trimtab.kernels.ops import llama as native
from trimtab.models.llama.family import head_width, layer_window
from trimtab.nn.linear import QuantizedLinear
from trimtab.nn.lora import LoraLinear, adapters
from trimtab.quant import quantize

HeadForm: TypeAlias = Literal["stored", "int8", "nf4"]
"""How the output head is held: as it is, in blocks of 8-bit integers, or in NF4."""

INT8_LARGEST = 127


def llama_weights(
    net: nn.Module, *, head: HeadForm, exact: bool, cosines: Tensor, sines: Tensor
) -> native.LlamaWeights:
    """Describe a network for the compiled decoder.

    Args:
        net: of a family that ``family.obstacle`` has nothing against.
        head: the form of the output head.
        exact: whether products with the head must be exact, and keys and values be kept in 32 bits.
        cosines: (positions, head / 2), may be filled later.
        sines: the same.
    """
    network = cast(Any, net)
    config, model = network.config, network.model
    embedding = _narrowed(model.embed_tokens.weight)
    tied = getattr(network.lm_head, "weight", None) is model.embed_tokens.weight
    return native.LlamaWeights(
        layers=tuple(_layer(layer) for layer in model.layers),
        embedding=native.LinearWeights(embedding),
        head=_head(network.lm_head, head, embedding if tied else None, exact=exact),
        final_norm=_norm(model.norm),
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_width=head_width(config),
        eps=float(config.rms_norm_eps),
        scale=head_width(config) ** -0.5,
        cosines=cosines,
        sines=sines,
        window=layer_window(config, 0),
        half_pages=not exact,
    )


def llama_factors(net: nn.Module) -> tuple[tuple[str, ...], list[dict[tuple[int, str], native.Factors]]]:
    """Give the names of the adapters on a network and, for each, its factors by layer and linear name."""
    names = tuple(adapters(net))
    found: list[dict[tuple[int, str], native.Factors]] = [{} for _ in names]
    for index, layer in enumerate(cast(Any, net).model.layers):
        for name in native.LINEARS:
            linear = _linear_of(layer, name)
            if not isinstance(linear, LoraLinear):
                continue
            for adapter, settings in linear.settings.items():
                a, b = linear.lora_A[adapter].detach().float(), linear.lora_B[adapter].detach().float()
                found[names.index(adapter)][index, name] = native.Factors(a, b, settings.scaling)
    return names, found


def _layer(layer: Any) -> native.LayerWeights:
    attention = layer.self_attn
    return native.LayerWeights(
        linears=tuple(_linear(_linear_of(layer, name)) for name in native.LINEARS),
        input_norm=_norm(layer.input_layernorm),
        middle_norm=_norm(layer.post_attention_layernorm),
        query_norm=_norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
        key_norm=_norm(attention.k_norm) if hasattr(attention, "k_norm") else None,
    )


def _linear_of(layer: Any, name: str) -> nn.Module:
    return cast(nn.Module, getattr(layer.self_attn if hasattr(layer.self_attn, name) else layer.mlp, name))


def _linear(module: nn.Module) -> native.LinearWeights:
    base = module.base if isinstance(module, LoraLinear) else module
    if isinstance(base, QuantizedLinear):
        weight: native.Weight = base.quantized.packed() if base.kind != "int8" else _rows(base.codes, base.absmax)
    else:
        weight = cast(nn.Linear, base).weight.detach().contiguous()
    bias = cast(Tensor | None, base.bias)
    return native.LinearWeights(weight, None if bias is None else bias.detach().float().contiguous())


def _head(module: nn.Module, form: HeadForm, embedding: Tensor | None, *, exact: bool) -> native.LinearWeights:
    """Give the output head in one of its forms; as stored, it is the embedding where the two are tied."""
    held = _linear(module)
    if not isinstance(held.weight, Tensor):
        return held
    if form == "int8":
        blocks, even = _in_blocks(held.weight), held.weight.shape[1] % native.PANEL_COLUMNS == 0
        return native.LinearWeights(native.Panels8bit.of(blocks) if even and not exact else blocks, held.bias)
    if form == "nf4":
        return native.LinearWeights(quantize(held.weight, kind="nf4", double=True).packed(), held.bias)
    return native.LinearWeights(_narrowed(held.weight) if embedding is None else embedding, held.bias)


def _narrowed(weight: Tensor) -> Tensor:
    """Give a matrix in 16 bits if that loses nothing, so that half as much memory is read; else as it is."""
    weight = weight.detach().contiguous()
    if weight.dtype is torch.float32:
        for dtype in (torch.bfloat16, torch.float16):
            narrow = weight.to(dtype)
            if torch.equal(narrow.float(), weight):
                return narrow
    return weight


def _rows(codes: Tensor, absmax: Tensor) -> native.Blocks8bit:
    return native.Blocks8bit(codes.contiguous(), (absmax.float() * ops.INT8_STEP).unsqueeze(1))


def _in_blocks(weight: Tensor) -> native.Blocks8bit:
    """Round a matrix to 255 even steps in blocks of 32 along its rows, as GGUF's Q8_0 does."""
    rows, cols = weight.shape
    blocks = weight.detach().float().view(rows, -1, native.PANEL_BLOCK if cols % native.PANEL_BLOCK == 0 else cols)
    scales = blocks.abs().amax(dim=2) / INT8_LARGEST
    codes = (blocks / scales.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(2)).round()
    return native.Blocks8bit(codes.to(torch.int8).view(rows, cols), scales.contiguous())


def _norm(module: Any) -> Tensor:
    return cast(Tensor, module.weight).detach().float().contiguous()
