"""Generators in the official pickles of stylegan2-ada-pytorch and stylegan3: networks that carry their own source code.

The source code is passed over, not read; what counts is the tree of parameters and buffers beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from trimtab.models.stylegan.found import MOST_TENSORS, FoundGenerator, array_of, sizes_of
from trimtab.store.pickle_machine import Budget, Maker, Refused, Rules, Shell
from trimtab.store.pickled_tensors import ARRAY_MAKERS, TENSOR_MAKERS
from trimtab.store.restricted_pickle import PLAIN_MAKERS, arguments_of, empty_mapping, read_pickle, shell_of
from trimtab.store.torch_archive import storage_from_bytes

KEY: Final = "G_ema"
NETWORK: Final = "dnnlib.tflib.network.Network"
MOST_DEPTH: Final = 8
POSITIONS: Final = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
GROUPS: Final = ("mapping_kwargs", "synthesis_kwargs")
FIXED: Final[Mapping[str, tuple[Any, ...]]] = MappingProxyType(
    {
        "c_dim": (0,),
        "img_channels": (3,),
        "architecture": ("skip",),
        "resample_filter": ([1, 3, 3, 1], (1, 3, 3, 1)),
        "use_noise": (True,),
        "activation": ("lrelu",),
        "kernel_size": (3,),
        "lr_multiplier": (0.01,),
        "embed_features": (None,),
        "layer_features": (None,),
    }
)
"""Arguments whose other values make another kind of network."""
FREE: Final = frozenset(
    {
        *("class_name", "z_dim", "w_dim", "img_resolution", "channel_base", "channel_max", "num_layers", "conv_clamp"),
        *("num_fp16_res", "use_fp16", "fp16_channels_last", "fused_modconv_default", "w_avg_beta", "num_ws"),
    }
)
"""Arguments that shapes tell too, or that change nothing in float32 on a frozen network."""


def read_official(data: memoryview) -> Any:
    """Read an official pickle, of PyTorch or of TensorFlow.

    Returns:
        Values as ``PickleMachine`` gives them; networks as ``Shell``.

    Raises:
        Refused: it is damaged, hostile or of another kind.
    """
    budget = Budget()
    value, end = read_pickle(data, Rules(_makers(budget)), budget)
    if end != len(data):
        raise Refused("goes on behind its end", end)
    return value


def _makers(budget: Budget) -> Mapping[str, Maker]:
    return {
        **PLAIN_MAKERS,
        **TENSOR_MAKERS,
        **ARRAY_MAKERS,
        "torch.storage._load_from_bytes": storage_from_bytes(budget),
        "torch_utils.persistence._reconstruct_persistent_obj": _network,
        "dnnlib.util.EasyDict": empty_mapping,
        NETWORK: shell_of(NETWORK),
    }


def _network(arguments: tuple[Any, ...]) -> Shell:
    """Keep what describes a network; the source code in it is never looked at."""
    (meta,) = arguments_of("a network", arguments, dict)
    name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(name, str) or not isinstance(state, dict):
        raise Refused("holds a network without a class or a state")
    return Shell(name, state)


def official_generator(value: Any) -> FoundGenerator:
    """Find the averaged generator in what ``read_official`` gives.

    Raises:
        Refused: there is none, or it is of another kind; arguments that are not supported are named.
    """
    if not isinstance(value, dict) or not isinstance(value.get(KEY), Shell):
        raise Refused(f"holds no network called {KEY!r}, as official files of StyleGAN2 do")
    network = value[KEY]
    if network.name != "Generator":
        raise Refused(f"holds a network of the class {network.name!r:.40} as {KEY}; allowed is 'Generator'")
    arguments = _arguments(network.state)
    tensors = dict(_tensors(network))
    if any(name.startswith("synthesis.L") for name in tensors):
        raise Refused("holds a StyleGAN3; allowed are StyleGAN2 generators")
    _check_arguments(arguments)
    sizes = sizes_of(tensors, clamp=_clamp(network, arguments))
    _check_sizes(arguments, {"z_dim": sizes.z_width, "w_dim": sizes.w_width, "img_resolution": sizes.resolution})
    return FoundGenerator("official", sizes, tensors, arguments)


def _arguments(state: dict[Any, Any]) -> dict[str, Any]:
    """Give what a network was made with, its groups spread out."""
    named, placed = state.get("_init_kwargs", {}), state.get("_init_args", ())
    if not isinstance(named, dict) or not isinstance(placed, tuple) or len(placed) > len(POSITIONS):
        raise Refused("holds a generator whose arguments are unreadable")
    arguments = dict(zip(POSITIONS, placed, strict=False))
    for name, argument in named.items():
        arguments.update(argument if name in GROUPS and isinstance(argument, dict) else {name: argument})
    for group in [name for name in arguments if isinstance(arguments[name], dict)]:  # e.g. block_kwargs
        arguments.update(arguments.pop(group))
    return {str(name): argument for name, argument in arguments.items()}


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    unknown = sorted(arguments.keys() - FIXED.keys() - FREE)
    other = [name for name in sorted(arguments.keys() & FIXED.keys()) if not _is_one_of(arguments[name], FIXED[name])]
    if unknown or other:
        named = ", ".join(f"{name!r:.40}" for name in (*unknown, *other)[:8])
        raise Refused(f"holds a generator made with arguments that are not supported: {named}")


def _is_one_of(value: Any, allowed: tuple[Any, ...]) -> bool:
    """Compare without following what a file nests: lists and tuples of numbers at most."""
    if isinstance(value, list | tuple):
        plain = len(value) < 16 and all(isinstance(item, int | float) for item in value)
        return plain and value in allowed
    return isinstance(value, str | int | float | None) and value in allowed


def _check_sizes(arguments: Mapping[str, Any], found: Mapping[str, int]) -> None:
    for name, size in found.items():
        if name in arguments and (type(arguments[name]) is not int or arguments[name] != size):
            raise Refused(f"says that its generator has another {name} than its tensors, {size}")


def _clamp(network: Shell, arguments: Mapping[str, Any]) -> float | None:
    """Find the limit of activations: layers keep it beside their tensors, whatever the defaults were at the time."""
    layer: Any = network
    for name in ("synthesis", "b4", "conv1"):
        modules = layer.state.get("_modules") if isinstance(layer, Shell) and isinstance(layer.state, dict) else None
        layer = modules.get(name) if isinstance(modules, dict) else None
    state = layer.state if isinstance(layer, Shell) and isinstance(layer.state, dict) else {}
    clamp = state.get("conv_clamp", arguments.get("conv_clamp"))
    if clamp is not None and (type(clamp) not in (int, float) or not 0 < clamp < 1e9):
        raise Refused("clamps activations by what is no positive number")
    return None if clamp is None else float(clamp)


def _tensors(network: Shell) -> Iterator[tuple[str, np.ndarray]]:
    """Walk down a network; what refers to itself ends at the bounds."""
    waiting, seen = [("", network, 0)], 0
    while waiting:
        prefix, module, depth = waiting.pop()
        seen += 1
        if depth > MOST_DEPTH or seen > MOST_TENSORS or not isinstance(module.state, dict):
            raise Refused(f"holds modules nested deeper than {MOST_DEPTH}, or more than {MOST_TENSORS} of them")
        for group in ("_parameters", "_buffers"):
            for name, value in _items(module, group):
                yield prefix + name, array_of(value, prefix + name)
        for name, inner in _items(module, "_modules"):
            if not isinstance(inner, Shell):
                raise Refused(f"holds {prefix + name!r:.100}, which is no network")
            waiting.append((f"{prefix}{name}.", inner, depth + 1))


def _items(module: Shell, group: str) -> Iterator[tuple[str, Any]]:
    items = module.state.get(group, {})
    if not isinstance(items, dict) or not all(isinstance(name, str) for name in items) or len(items) > MOST_TENSORS:
        raise Refused(f"holds a network whose {group} are unreadable")
    yield from ((name, item) for name, item in items.items() if item is not None)
