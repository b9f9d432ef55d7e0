"""An empty network: every parameter a placeholder without storage, every computed buffer real."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trimtab.core.errors import FormatError, MissingError
from trimtab.models.config import read_model_config


def skeleton(folder: Path) -> nn.Module:
    """Build the network that a model folder describes, without its weights.

    Raises:
        MissingError: the folder has no config.json.
        FormatError: the config is damaged, or names no network that transformers knows.
    """
    import transformers

    document = read_model_config(folder)
    document.pop("quantization_config", None)
    kind = document.get("model_type")
    try:
        config = transformers.AutoConfig.for_model(kind, **{k: v for k, v in document.items() if k != "model_type"})
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(folder / "config.json", f"describes no network that transformers knows ({error})") from error
    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    try:
        with parameters_on_meta():
            net: nn.Module = auto.from_config(config, dtype=torch.float32)
    except (ValueError, TypeError, RuntimeError, ArithmeticError, AttributeError, IndexError) as error:
        raise FormatError(folder / "config.json", f"describes a network that cannot be built ({error})") from error
    return net.eval()


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Make every parameter that is registered inside the block a placeholder on the meta device.

    Buffers stay real, since networks compute some of them (rotary frequencies) and never store them.
    """
    register = nn.Module.register_parameter

    def placeholder(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = nn.Parameter(param.detach().to("meta"), requires_grad=param.requires_grad)
        register(self, name, param)

    nn.Module.register_parameter = placeholder  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def put(net: nn.Module, name: str, tensor: torch.Tensor, *, path: Path) -> None:
    """Set the parameter or buffer ``name`` of a network, refusing another shape; ``path`` is where it came from.

    Raises:
        MissingError: the network has no such tensor.
        FormatError: the shapes differ.
    """
    owner_name, _, leaf = name.rpartition(".")
    owner = net.get_submodule(owner_name)
    present: Any = getattr(owner, leaf, None)
    if not isinstance(present, torch.Tensor):
        raise MissingError(f"{path}: the network of its config has no tensor {name}.")
    if present.shape != tensor.shape:
        raise FormatError(path, f"{name} has shape {list(tensor.shape)}, the config says {list(present.shape)}")
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[leaf] = tensor
