"""Outputs made again in the backward pass: same gradients, fewer bytes kept, nothing confused by reuse of memory."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import GemmaConfig, GemmaForCausalLM, LlamaConfig, LlamaForCausalLM

from trimtab.nn.fuse import FusedRmsNorm, GatedMlp, fuse
from trimtab.nn.lora import LoraSettings, add_lora
from trimtab.nn.recompute import is_recomputed, offer, recomputing


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=64))


def gradients(net: nn.Module, *, again: bool) -> dict[str, Tensor]:
    net.zero_grad()
    ids = torch.arange(24).reshape(2, 12)
    if again:
        with recomputing():
            loss = net(input_ids=ids, labels=ids).loss
    else:
        loss = net(input_ids=ids, labels=ids).loss
    loss.backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def adapted(net: nn.Module) -> nn.Module:
    add_lora(net, LoraSettings(rank=4))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in net.named_parameters():
        if ".lora_B." in name:
            parameter.data.normal_(generator=generator)
    return net


def test_gradients_have_the_same_bits_as_with_kept_activations() -> None:
    net = fuse(adapted(tiny_llama()))
    kept, again = gradients(net, again=False), gradients(net, again=True)
    assert kept.keys() == again.keys()
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_gradients_agree_with_the_network_before_fusing() -> None:
    net = adapted(tiny_llama())
    plain = gradients(net, again=False)
    fused = gradients(fuse(net), again=True)
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-6)


def test_fused_layers_stand_where_norms_and_gates_stood() -> None:
    net = fuse(tiny_llama())
    kinds = [type(module) for module in net.modules()]
    assert kinds.count(FusedRmsNorm) == 5
    assert kinds.count(GatedMlp) == 2


def test_norms_that_multiply_by_one_plus_weight_are_recognised() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4}
    net = GemmaForCausalLM(GemmaConfig(**sizes, num_key_value_heads=1, head_dim=8, vocab_size=64)).eval()
    for name, parameter in net.named_parameters():
        if "norm" in name:
            parameter.data.uniform_(-0.5, 0.5)
    ids = torch.arange(8)[None]
    before = net(input_ids=ids).logits
    norms = [module for module in fuse(net).modules() if isinstance(module, FusedRmsNorm)]
    assert [norm.offset for norm in norms] == [1.0, 1.0, 1.0]
    torch.testing.assert_close(net(input_ids=ids).logits, before, rtol=1e-5, atol=1e-5)


def test_a_gate_that_is_not_silu_is_left_alone() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4}
    net = fuse(LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=64, hidden_act="gelu")))
    assert not any(isinstance(module, GatedMlp) for module in net.modules())


def test_what_is_made_again_is_not_kept() -> None:
    kept: list[Tensor] = []
    x = torch.ones(4, 8, requires_grad=True)
    with recomputing(), torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = offer(x * 2, lambda: x * 2)
        assert is_recomputed(y)
        assert is_recomputed(y.view(8, 4))
        assert not is_recomputed(x)


def test_views_of_an_output_come_back_with_their_own_shape() -> None:
    x = torch.arange(12.0).requires_grad_()
    with recomputing():
        y = offer(x * 2, lambda: x * 2)
        total = (y.view(3, 4)[1:, ::2].t() ** 2).sum()
    total.backward()
    expected = torch.zeros(12)
    expected[[4, 6, 8, 10]] = 8 * torch.tensor([4.0, 6.0, 8.0, 10.0])
    assert torch.equal(x.grad, expected)


def test_memory_that_is_used_again_is_not_taken_for_the_output() -> None:
    x = torch.ones(1000, requires_grad=True)
    with recomputing():
        offer(x * 2, lambda: x * 2)
        others = [(x * factor) ** 2 for factor in range(3, 8)]
    torch.stack([other.sum() for other in others]).sum().backward()
    assert torch.equal(x.grad, torch.full((1000,), 2.0 * sum(f * f for f in range(3, 8))))


@pytest.mark.parametrize("grad", [True, False])
def test_outside_the_block_nothing_is_offered(grad: bool) -> None:
    x = torch.ones(4, requires_grad=grad)
    assert not is_recomputed(offer(x * 2, lambda: x * 2))


def test_what_a_checkpoint_lets_go_of_is_not_held_by_a_recipe() -> None:
    seen: list[weakref.ref[Tensor]] = []

    def layer(x: Tensor) -> Tensor:
        inner = x * 2
        seen.append(weakref.ref(inner))
        return offer(inner.exp(), lambda: inner.exp()) * 3

    x = torch.randn(8, requires_grad=True)
    with recomputing():
        y = checkpoint(layer, x, use_reentrant=False)
        assert seen[0]() is None
    (found,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(found, 6 * (2 * x).exp())
