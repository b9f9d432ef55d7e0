"""Compiles a quantized and adapted Llama without graph breaks and compares it with the eager one; run by test_lora."""

from __future__ import annotations

import torch

import tiny
from trimtab.nn.freeze import trainable
from trimtab.nn.linear import quantize_linears
from trimtab.nn.lora import LoraSettings, add_lora

BACKEND = "aot_eager"  # traces forward and backward as every backend does, without generating code


def main() -> None:
    """Compare logits and gradients."""
    net, ids = add_lora(quantize_linears(tiny.llama(use_cache=False)), LoraSettings(rank=4, alpha=8)), tiny.token_ids()
    tiny.tune(net)
    expected = net(input_ids=ids).logits
    expected.square().mean().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in trainable(net).items()}
    net.zero_grad()
    found = torch.compile(net, fullgraph=True, backend=BACKEND)(input_ids=ids).logits
    found.square().mean().backward()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for name, parameter in trainable(net).items():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=1e-4)


if __name__ == "__main__":
    main()
