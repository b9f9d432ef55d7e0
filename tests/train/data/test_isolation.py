"""Packed examples: the logits of each are those it has alone."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from trimtab.core.errors import UsageError
from trimtab.train.data import Batches, DataSettings
from trimtab.train.data.batch import collate, collate_packed
from trimtab.train.data.encode import Example
from trimtab.train.data.isolation import block_mask, isolation, with_mask

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SPECIAL = {name: SMALL[name] for name in ("pad_token_id", "bos_token_id", "eos_token_id")}

CONFIGS: dict[str, Any] = {
    "llama": lambda: transformers.LlamaConfig(**SMALL),
    "qwen2": lambda: transformers.Qwen2Config(**SMALL),
    "neox": lambda: transformers.GPTNeoXConfig(
        **{k: v for k, v in SMALL.items() if k not in ("num_key_value_heads", "head_dim")}
    ),
    "opt": lambda: transformers.OPTConfig(
        vocab_size=64,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=32,
        max_position_embeddings=64,
        **SPECIAL,
    ),
    "gemma": lambda: transformers.GemmaConfig(**SMALL),
    "gemma3-sliding": lambda: transformers.Gemma3TextConfig(**SMALL, sliding_window=4),
    "mistral-sliding": lambda: transformers.MistralConfig(**SMALL, sliding_window=4),
    "mixtral": lambda: transformers.MixtralConfig(**SMALL, num_local_experts=4),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, **SPECIAL),
}

SIZES = (5, 9, 3)


def network_of(family: str, attention: str) -> torch.nn.Module:
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(CONFIGS[family](), attn_implementation=attention)
    return network.eval()


def examples_of(sizes: tuple[int, ...]) -> list[Example]:
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randint(3, 64, (size,), generator=generator).tolist() for size in sizes]
    return [Example(ids, [True] * len(ids), f"made.jsonl:{line}") for line, ids in enumerate(drawn, start=1)]


@pytest.mark.parametrize(
    ("family", "attention"),
    [*((family, "sdpa") for family in CONFIGS), ("llama", "eager"), ("opt", "eager"), ("gemma3-sliding", "eager")],
)
def test_packed_logits_are_those_of_each_example_alone(family: str, attention: str) -> None:
    network = network_of(family, attention)
    examples = examples_of(SIZES)
    batch = collate_packed([examples, examples[:2]], pad_id=0)
    if isolation(network) == "mask":
        batch = with_mask(batch)
    with torch.no_grad():
        packed = network(**batch.inputs()).logits
        alone = [network(torch.tensor([example.input_ids])).logits[0] for example in examples]
    assert torch.allclose(packed[0], torch.cat(alone), atol=1e-5)
    assert torch.allclose(packed[1, : sum(SIZES[:2])], torch.cat(alone[:2]), atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_a_stream_makes_batches_that_its_network_keeps_apart(family: str) -> None:
    network = network_of(family, "sdpa")
    examples = examples_of(SIZES)
    batches = Batches(examples, batch_size=1, settings=DataSettings(max_length=32, packing=True))
    batches.keep_apart(network)
    batch = next(batches)
    assert batch.trained_tokens == sum(SIZES) - len(SIZES)
    with torch.no_grad():
        packed = network(**batch.inputs()).logits[0]
        alone = [network(torch.tensor([example.input_ids])).logits[0] for example in sorted(examples, key=len)[::-1]]
    assert torch.allclose(packed, torch.cat(alone), atol=1e-5)


@pytest.mark.parametrize(("family", "expected"), [("llama", "positions"), ("opt", "mask")])
def test_the_way_to_keep_examples_apart_is_found_on_the_network(family: str, expected: str) -> None:
    assert isolation(network_of(family, "sdpa")) == expected


@pytest.mark.parametrize("family", ["llama", "opt", "gemma3-sliding"])
def test_an_epoch_of_packed_windows_has_the_gradient_of_the_examples_alone(family: str) -> None:
    network = network_of(family, "sdpa")
    gradients = []
    for packing in (True, False):
        settings = DataSettings(max_length=16, packing=packing)
        batches = Batches(examples_of((5, 9, 3, 4, 2, 12)), batch_size=2, settings=settings)
        batches.keep_apart(network)
        network.zero_grad()
        for batch in islice(batches, batches.batches_per_epoch):
            logits = network(**batch.inputs()).logits[:, :-1]
            cross_entropy(logits.flatten(0, 1), batch.labels[:, 1:].flatten(), reduction="sum").backward()
        gradients.append(
            torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])
        )
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("family", "expected"), [("llama", "positions"), ("opt", "mask"), ("gemma", "positions")])
def test_the_way_is_found_in_16_bits_too(family: str, expected: str) -> None:
    assert isolation(network_of(family, "sdpa").to(torch.bfloat16)) == expected


def test_a_network_that_remembers_everything_is_refused() -> None:
    config = transformers.MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, state_size=4, **SPECIAL)
    with pytest.raises(UsageError, match="packing = false"):
        isolation(transformers.AutoModelForCausalLM.from_config(config))


def test_looking_leaves_each_module_in_its_own_mode() -> None:
    network = network_of("llama", "sdpa").train()
    network.lm_head.eval()
    isolation(network)
    assert network.training
    assert not network.lm_head.training


def test_the_mask_is_a_triangle_for_each_example() -> None:
    seen = block_mask(torch.tensor([[0, 1, 0, 1, 2]]), dtype=torch.float32)[0, 0] == 0
    expected = torch.block_diag(torch.ones(2, 2).tril(), torch.ones(3, 3).tril()).bool()
    assert torch.equal(seen, expected)


def test_a_batch_that_is_not_packed_needs_no_mask() -> None:
    batch = collate(examples_of((3, 2)), pad_id=0)
    assert with_mask(batch) is batch
