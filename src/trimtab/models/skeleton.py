"""An empty network: every parameter a placeholder without storage, every computed buffer real."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from trimtab.core.errors import FormatError, MissingError
from trimtab.models.config import CONFIG_NAME, read_model_config

LONG_WINDOW: Final = 32_768
MAX_BUFFER_BYTES: Final = 1 << 30


def skeleton(folder: Path) -> nn.Module:
    """Build the network that a model folder describes, without its weights.

    Raises:
        MissingError: the folder has no config.json.
        FormatError: the config is damaged, or names no network that transformers knows.
    """
    from transformers.initialization import no_init_weights

    config = network_config(folder)
    auto = auto_class(config)
    try:
        if _positions(config) > LONG_WINDOW:
            with torch.device("meta"):
                _refuse_large_buffers(folder, auto.from_config(config, dtype=torch.float32))
        with parameters_on_meta(), no_init_weights():
            net: nn.Module = auto.from_config(config, dtype=torch.float32)
    except FormatError:
        raise
    except Exception as error:
        problem = f"describes a network that cannot be built ({type(error).__name__}: {_first_line(error)})"
        raise FormatError(folder / CONFIG_NAME, problem) from error
    return net.eval()


def network_config(folder: Path) -> Any:
    """Give transformers' config object of a folder, without anything that would run code of the folder's.

    Raises:
        MissingError: the folder has no config.json.
        FormatError: the config is damaged, or names no network that transformers knows.
    """
    import transformers

    document = read_model_config(folder)
    document.pop("quantization_config", None)
    kind = document.pop("model_type")
    try:
        return transformers.AutoConfig.for_model(kind, **document)
    except Exception as error:
        problem = f"describes no network that transformers knows ({type(error).__name__}: {_first_line(error)})"
        raise FormatError(folder / CONFIG_NAME, problem) from error


def auto_class(config: Any) -> Any:
    """Choose transformers' door to a network: encoder-decoder or decoder alone."""
    import transformers

    return transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM


def _positions(config: Any) -> int:
    """Give the longest window that a config states; old networks keep a mask of its square."""
    text = config.get_text_config()
    windows = [getattr(text, key, None) for key in ("max_position_embeddings", "n_positions", "n_ctx")]
    return max((window for window in windows if type(window) is int), default=0)


def _refuse_large_buffers(folder: Path, net: nn.Module) -> None:
    nbytes = sum(buffer.numel() * buffer.element_size() for buffer in net.buffers())
    if nbytes > MAX_BUFFER_BYTES:
        raise FormatError(
            folder / CONFIG_NAME, f"asks for {nbytes} bytes of computed tables; {MAX_BUFFER_BYTES} is the most"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:200]


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
    if present.is_floating_point() and not tensor.is_floating_point():
        raise FormatError(path, f"{name} holds {tensor.dtype}, where fractions are expected")
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[leaf] = tensor
