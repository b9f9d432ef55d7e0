"""The compiled decoder on bare tensors: what it refuses, its pages, and values that are not finite."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from needs import need
from trimtab.core.errors import RangeError
from trimtab.kernels import cpu
from trimtab.kernels.ops import llama

HEADS, WIDTH, WORDS, POSITIONS = 4, 64, 11, 80


@pytest.fixture(autouse=True)
def compiled():
    need(llama.available(), "the C library on a processor with AVX2", "Install gcc and run `pip install -e .`.")


def draw(rng: torch.Generator, *, kv_heads: int = 2, head: int = 16, layers: int = 1) -> llama.LlamaWeights:
    def linear(rows, cols):
        return llama.LinearWeights(torch.randn(rows, cols, generator=rng) / cols**0.5)

    def layer():
        query, keys = HEADS * head, kv_heads * head
        shapes = [(query, WIDTH), (keys, WIDTH), (keys, WIDTH), (WIDTH, query), *[(WIDTH, WIDTH)] * 3]
        return llama.LayerWeights(tuple(linear(*shape) for shape in shapes), torch.ones(WIDTH), torch.ones(WIDTH))

    angles = torch.rand(POSITIONS, head // 2, generator=rng)
    return llama.LlamaWeights(
        layers=tuple(layer() for _ in range(layers)),
        embedding=linear(WORDS, WIDTH),
        head=linear(WORDS, WIDTH),
        final_norm=torch.ones(WIDTH),
        heads=HEADS,
        kv_heads=kv_heads,
        head_width=head,
        eps=1e-5,
        scale=head**-0.5,
        cosines=angles.cos(),
        sines=angles.sin(),
    )


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("slot", [0, 7, 15, 16, 19, 30, 31])
def test_a_key_that_is_no_number_is_not_taken_for_one_that_is_not_seen(slot, level, rng, monkeypatch):
    allowed = min(level, cpu.level())
    monkeypatch.setattr(cpu, "level", lambda: allowed)
    native = llama.NativeLlama(draw(rng, kv_heads=2, head=16))
    pages = [torch.zeros(native.page_numbers) for _ in range(2)]
    table = llama.page_table(pages)
    native.read([llama.NativeRead([1] * 40, 0, table)], exact=True)
    keys = pages[0][: 2 * 16 * llama.PAGE_TOKENS].view(2, 16, llama.PAGE_TOKENS)
    assert keys[:, :, slot].all()
    keys[:, :, slot] = torch.nan
    assert native.read([llama.NativeRead([1], 40, table)], exact=True).isnan().all()


def test_a_page_has_room_for_a_key_and_a_value_of_each_token_in_each_layer(rng):
    native = llama.NativeLlama(draw(rng, kv_heads=1, head=32, layers=3))
    assert native.page_numbers == 3 * llama.PAGE_TOKENS * 2 * 32


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"heads": 3}, "3 query heads on 2 key heads"),
        ({"kv_heads": 0}, "4 query heads on 0 key heads"),
        ({"heads": 98}, f"at most {llama.MOST_GROUPED}"),
        ({"head_width": 15}, "15 elements"),
        ({"sines": torch.ones(POSITIONS // 2, 16)}, r"sines \[40, 16\]"),
        ({"cosines": torch.ones(POSITIONS, 16)}, r"cosines \[80, 16\]"),
        ({"final_norm": torch.ones(WIDTH, device="meta")}, "final_norm is on meta"),
        ({"final_norm": torch.ones(WIDTH).double()}, "final_norm holds 64 values of torch.float64.*Give it as .float"),
        (
            {"head": llama.LinearWeights(torch.ones(WIDTH, WORDS).t())},
            "weight holds .* not contiguous.*Give it as .contig",
        ),
        ({"head": llama.LinearWeights(torch.ones(WORDS, WIDTH, device="meta"))}, "weight is on meta"),
    ],
)
def test_what_the_c_code_could_not_bear_is_refused(change, said, rng):
    with pytest.raises(RangeError, match=said):
        llama.NativeLlama(replace(draw(rng), **change))
