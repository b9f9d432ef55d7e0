"""Our attention inside networks of transformers: the same loss and gradients, wherever it is used at all."""

from __future__ import annotations

import copy

import pytest
import torch

import tiny
from needs import need
from trimtab.kernels import ops
from trimtab.models import attention
from trimtab.models.attention import NAME, starts_of, use_own_attention

LENGTH = 40
WINDOW = 7
BUILDERS = {
    **{name: build for name, build in tiny.FAMILIES.items() if name not in ("t5", "gemma2")},
    "mistral": tiny._decoder("Mistral", num_key_value_heads=tiny.KV_HEADS, sliding_window=WINDOW),
    "gemma3 with a window": lambda: tiny.FAMILIES["gemma3"](sliding_window=WINDOW),
    "gpt2": tiny.UNUSUAL["gpt2"],
}


@pytest.fixture(autouse=True)
def _compiled():
    need(ops.implementation("cpu") == "cpu", "the C library", "Install gcc and build the package again.")


@pytest.fixture
def calls(monkeypatch):
    """Count calls of our operator."""
    counted, real = [], ops.attention

    def attend(*given, **options):
        counted.append(given)
        return real(*given, **options)

    monkeypatch.setattr(attention.ops, "attention", attend)
    return counted


def inputs_of(kind: str) -> dict:
    mask = torch.ones(2, LENGTH, dtype=torch.long)
    inputs = {"input_ids": tiny.token_ids(2, LENGTH), "use_cache": False}
    if kind == "left padding":
        mask[0, :9] = 0
        return inputs | {"attention_mask": mask}
    if kind == "right padding":
        mask[0, 31:] = 0
        return inputs | {"attention_mask": mask}
    if kind == "packed":
        return inputs | {"position_ids": torch.tensor([[*range(17), *range(23)], [*range(40)]])}
    return inputs


def loss_and_gradients(net, inputs) -> list[torch.Tensor]:
    """The loss where there are words, and the gradient of every parameter."""
    net.zero_grad()
    counts = inputs.get("attention_mask", torch.ones(2, LENGTH)).bool()
    rows = net(**inputs).logits[counts]
    loss = torch.nn.functional.cross_entropy(rows, inputs["input_ids"][counts])
    loss.backward()
    return [loss.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]


@pytest.mark.parametrize("kind", ["causal", "left padding", "packed", "right padding"])
@pytest.mark.parametrize("family", list(BUILDERS))
def test_loss_and_gradients_are_those_of_the_untouched_network(family, kind, calls):
    net = BUILDERS[family]()
    expected = loss_and_gradients(copy.deepcopy(net), inputs_of(kind))
    assert use_own_attention(net)
    calls.clear()
    torch.testing.assert_close(loss_and_gradients(net, inputs_of(kind)), expected, rtol=1e-5, atol=1e-5)
    assert len(calls) == (0 if kind == "right padding" else tiny.LAYERS)


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3 with a window", "opt"])
def test_writing_behind_a_cache_gives_the_same_tokens(family, calls):
    net, mask = BUILDERS[family](), torch.ones(2, 30, dtype=torch.long)
    mask[0, :5] = 0
    given = {"attention_mask": mask, "max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    expected = net.generate(tiny.token_ids(2, 30), **given)
    assert use_own_attention(net)
    calls.clear()
    assert torch.equal(net.generate(tiny.token_ids(2, 30), **given), expected)
    assert len(calls) == tiny.LAYERS  # reading the prompt; single tokens go to PyTorch


def test_a_long_piece_behind_a_cache_sees_what_came_before(calls):
    net, ids = tiny.llama(), tiny.token_ids(2, 50)
    expected = tiny.logits(net, ids)[:, 30:]
    assert use_own_attention(net)
    with torch.no_grad():
        cache = net(ids[:, :30], use_cache=True).past_key_values
        calls.clear()
        found = net(ids[:, 30:], past_key_values=cache).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert len(calls) == tiny.LAYERS


@pytest.mark.parametrize("family", ["t5", "gemma2"])
def test_networks_of_another_kind_are_left_alone(family):
    net = tiny.FAMILIES[family]()
    before = net.config._attn_implementation
    assert not use_own_attention(net)
    assert net.config._attn_implementation == before


def test_a_network_that_would_answer_differently_keeps_what_it_had(monkeypatch):
    real = ops.attention
    monkeypatch.setattr(attention.ops, "attention", lambda *a, **k: real(*a, **k) * 1.01)
    net = tiny.llama().train()
    assert not use_own_attention(net)
    assert net.config._attn_implementation == "sdpa"
    assert net.training


@pytest.mark.parametrize("change", [{"attention_dropout": 0.5}, {"head_dim": 264}])
def test_what_we_do_not_compute_goes_to_pytorch(change, calls):
    net = tiny.llama(**change).train()
    expected = copy.deepcopy(net)
    assert use_own_attention(net, on_trial=False)
    torch.manual_seed(5)
    wanted = loss_and_gradients(expected, inputs_of("left padding"))
    torch.manual_seed(5)
    torch.testing.assert_close(loss_and_gradients(net, inputs_of("left padding")), wanted)
    assert not calls


def test_16_bits_go_to_pytorch(calls):
    net = tiny.llama().bfloat16()
    expected = tiny.logits(net, tiny.token_ids(2, 40))
    assert use_own_attention(net)
    assert torch.equal(tiny.logits(net, tiny.token_ids(2, 40)), expected)
    assert not calls


def test_the_choice_is_not_written_into_a_saved_config(tmp_path):
    net = tiny.llama()
    assert use_own_attention(net)
    tiny.save(net, tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()


def seen_from(starts: list[list[int]], keys: int) -> torch.Tensor:
    key, queries = torch.arange(keys), len(starts[0])
    ends = torch.arange(queries)[:, None] + keys - queries
    return ((key >= torch.tensor(starts)[:, :, None]) & (key <= ends))[:, None]


def test_starts_are_read_off_a_mask():
    starts = [[0, 0, 2, 2], [1, 2, 3, 4]]
    assert starts_of(seen_from(starts, 5)).tolist() == starts


def test_a_query_that_sees_nothing_starts_behind_its_place():
    assert starts_of(torch.zeros(1, 1, 2, 3, dtype=torch.bool)).tolist() == [[2, 3]]


@pytest.mark.parametrize(("query", "key", "value"), [(3, 1, False), (0, 2, True), (3, 3, False)])
def test_a_mask_with_a_hole_or_a_look_ahead_has_no_starts(query, key, value):
    mask = seen_from([[0, 0, 0, 0]], 4)
    mask[0, 0, query, key] = value
    assert starts_of(mask) is None


def test_masks_that_differ_between_heads_or_hold_numbers_have_no_starts():
    assert starts_of(torch.ones(1, 2, 1, 1, dtype=torch.bool)) is None
    assert starts_of(torch.zeros(1, 1, 1, 1)) is None
