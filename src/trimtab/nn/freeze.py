"""Freezing a network, and the proof that it stayed frozen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


def freeze(net: nn.Module) -> None:
    """Stop every parameter of a network from learning; gradients still flow through it."""
    for parameter in net.parameters():
        parameter.requires_grad_(False)


def trainable(net: nn.Module) -> dict[str, nn.Parameter]:
    """Give the parameters that learn, by name, in the order of the network."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def fingerprint(net: nn.Module) -> str:
    """Hash every byte of a network that training must not change.

    Returns:
        SHA-256, hexadecimal, over names, types, shapes and bytes of all frozen parameters and persistent buffers.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(_frozen_tensors(net), key=lambda pair: pair[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(as_bytes(tensor).numpy().data)
    return digest.hexdigest()


def as_bytes(tensor: Tensor) -> Tensor:
    """View a tensor's elements as bytes, (N,) uint8 on the CPU; 16-bit types have no NumPy twin."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def _frozen_tensors(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    learning = set(trainable(net))
    for name, tensor in net.state_dict(keep_vars=True).items():
        if name not in learning and isinstance(tensor, Tensor):
            yield name, tensor
