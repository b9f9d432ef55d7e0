"""Files of generators as other programs write them, made here of any state: no such file is free to be shipped.

The modules whose names the official files hold are there only while a file is written.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trimtab.models.stylegan.stylegan2 import Block, Latents, Sizes

SOURCE = "import os\nos.system('touch executed')\nraise SystemExit('the source code of a network was run')\n" * 40
BUFFERS = ("w_avg", "noise_const", "resample_filter")
SMALL = Sizes(8, z_width=4, w_width=4, channel_base=32, channel_max=4, mapping_layers=1, clamp=256.0)


class EasyDict(dict[str, Any]):
    """What official files keep settings in."""


class Network:
    """A network of TensorFlow's time: nothing but its state."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __getstate__(self) -> dict[str, Any]:
        return self.state


def reconstruct(meta: Any) -> None:
    raise AssertionError("only ever named")


class Persistent:
    """A network as the official files describe it, with its source code."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.class_name, self.state = class_name, state

    def __reduce__(self) -> Any:
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.class_name}
        return reconstruct, (EasyDict(**meta, state=self.state),)


@contextmanager
def official_modules() -> Iterator[None]:
    """Let the names that official files hold exist."""
    homes = {reconstruct: "torch_utils.persistence", EasyDict: "dnnlib.util", Network: "dnnlib.tflib.network"}
    names = {reconstruct: "_reconstruct_persistent_obj", EasyDict: "EasyDict", Network: "Network"}
    added = {".".join(home.split(".")[: i + 1]) for home in homes.values() for i in range(home.count(".") + 1)}
    before = [(thing, thing.__module__, thing.__qualname__) for thing in homes]
    try:
        for home in added:
            sys.modules[home] = ModuleType(home)
        for thing, home in homes.items():
            thing.__module__, thing.__qualname__ = home, names[thing]
            setattr(sys.modules[home], names[thing], thing)
        yield
    finally:
        for thing, module, qualname in before:
            thing.__module__, thing.__qualname__ = module, qualname
        for home in added:
            del sys.modules[home]


def small_state(seed: int = 0) -> dict[str, Tensor]:
    """Make the tensors of a network of 8 px."""
    generator = torch.Generator().manual_seed(seed)
    shapes = _shapes(SMALL)
    state = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in shapes.items()}
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return {n: torch.outer(taps, taps) / 64 if n.endswith("resample_filter") else t for n, t in state.items()}


def _shapes(sizes: Sizes) -> dict[str, Tensor]:

    with torch.device("meta"):
        net = torch.nn.Module()
        net.mapping = Latents(sizes)
        net.synthesis = torch.nn.ModuleDict({f"b{size}": Block(size, sizes) for size in sizes.block_sizes})
    return net.state_dict()


def arguments_of(sizes: Sizes) -> dict[str, Any]:
    """Give what the official training makes a generator of such sizes with."""
    return {
        "z_dim": sizes.z_width,
        "w_dim": sizes.w_width,
        "mapping_kwargs": EasyDict(num_layers=sizes.mapping_layers),
        "synthesis_kwargs": EasyDict(
            channel_base=sizes.channel_base, channel_max=sizes.channel_max, num_fp16_res=4, conv_clamp=sizes.clamp
        ),
        "c_dim": 0,
        "img_resolution": sizes.resolution,
        "img_channels": 3,
    }


def official_network(
    state: dict[str, Tensor], sizes: Sizes, *, class_name: str = "Generator", **changes: Any
) -> Persistent:
    """Put tensors into a tree of persistent networks."""
    root: dict[str, Any] = {}
    for name, tensor in state.items():
        here = root
        for part in name.split(".")[:-1]:
            here = here.setdefault(part, {})
        here[name.rsplit(".", 1)[-1]] = tensor
    top = _persistent(class_name, root, {"conv_clamp": sizes.clamp})
    top.state |= {"_init_args": (), "_init_kwargs": EasyDict(arguments_of(sizes) | changes)}
    return top


def _persistent(class_name: str, tree: dict[str, Any], plain: dict[str, Any]) -> Persistent:
    tensors = {name: value for name, value in tree.items() if isinstance(value, Tensor)}
    state = {"training": False, "_non_persistent_buffers_set": set(), "up": np.int64(2), "gain": np.float32(1)}
    state["_parameters"] = OrderedDict(
        (name, torch.nn.Parameter(value, requires_grad=value.is_floating_point()))
        for name, value in tensors.items()
        if name not in BUFFERS
    )
    state["_buffers"] = OrderedDict((name, value) for name, value in tensors.items() if name in BUFFERS)
    state |= {f"_{kind}_hooks": OrderedDict() for kind in ("backward", "forward", "forward_pre", "state_dict")}
    inner = {name: value for name, value in tree.items() if isinstance(value, dict)}
    state["_modules"] = OrderedDict((name, _persistent("Layer", value, plain)) for name, value in inner.items())
    return Persistent(class_name, state | plain)


def official_pickle(state: dict[str, Tensor], sizes: Sizes, *, protocol: int = 4, **changes: Any) -> bytes:
    """Write an official file: three networks and the settings of its training."""
    with official_modules():
        networks = {key: official_network(state, sizes, **changes) for key in ("G", "D", "G_ema")}
        return pickle.dumps(networks | {"training_set_kwargs": EasyDict(path="x.zip"), "augment_pipe": None}, protocol)


def tensorflow_pickle(state: dict[str, Tensor], *, protocol: int = 4, **changes: Any) -> bytes:
    """Write a file of TensorFlow's time."""
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    mapping, synthesis = [], []
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        if part == "mapping" and rest != "w_avg":
            index, kind = rest.removeprefix("fc").split(".")
            mapping.append((f"Dense{index}/{kind}", array.T if kind == "weight" else array))
        elif part == "synthesis" and not rest.endswith("resample_filter"):
            synthesis.append(_old_variable(rest, array))
    parts = {name: _old(name, variables) for name, variables in (("mapping", mapping), ("synthesis", synthesis))}
    average = [("lod", np.float32(0)), ("dlatent_avg", arrays["mapping.w_avg"])]
    with official_modules():
        networks = tuple(
            Network(_old(name, average).state | {"components": EasyDict(parts)} | changes) for name in "GDS"
        )
        return pickle.dumps(networks, protocol)


def _old(name: str, variables: list[tuple[str, np.ndarray]]) -> Network:
    static = {"num_channels": 3, "resolution": 8, "fmap_base": 16384}
    return Network(
        {"version": 4, "name": name, "static_kwargs": static, "build_module_src": SOURCE, "variables": variables}
    )


def _old_variable(rest: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    block, *path = rest.split(".")
    size = int(block[1:])
    place = f"{size}x{size}"
    if path == ["const"]:
        return f"{place}/Const/const", array[None]
    layer, kind = {"conv0": "Conv0_up", "conv1": "Conv" if size == 4 else "Conv1", "torgb": "ToRGB"}[path[0]], path[1:]
    if kind == ["noise_strength"]:
        return f"{place}/{layer}/noise_strength", array[()]  # a plain number, as TensorFlow gives it
    if kind == ["noise_const"]:
        first = 2 * int(np.log2(size)) - 5
        return f"noise{first + (path[0] == 'conv1')}", array[None, None]
    if kind == ["affine", "weight"]:
        return f"{place}/{layer}/mod_weight", array.T
    if kind == ["affine", "bias"]:
        return f"{place}/{layer}/mod_bias", array - np.float32(1)
    if kind == ["weight"]:
        kernel = array.transpose(2, 3, 1, 0)
        return f"{place}/{layer}/weight", np.ascontiguousarray(kernel[::-1, ::-1] if path[0] == "conv0" else kernel)
    return f"{place}/{layer}/{kind[0]}", array


def rosinality_tree(state: dict[str, Tensor]) -> dict[str, Any]:
    """Arrange tensors as rosinality's training saves them."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        if part == "mapping" and rest != "w_avg":
            index, kind = rest.removeprefix("fc").split(".")
            renamed[f"style.{int(index) + 1}.{kind}"] = tensor
        elif part == "synthesis":
            renamed |= _rosinality_names(rest, tensor)
    ema = OrderedDict(renamed)
    ema._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]  # as state_dict() gives it
    return {"g_ema": ema, "latent_avg": state["mapping.w_avg"]}


def _rosinality_names(rest: str, tensor: Tensor) -> dict[str, Tensor]:
    block, *path = rest.split(".")
    level = int(np.log2(int(block[1:]))) - 2
    if path == ["const"]:
        return {"input.input": tensor[None]}
    if path == ["resample_filter"]:
        return {f"to_rgbs.{level - 1}.upsample.kernel": tensor * 4} if level else {}
    layer, kind = path[0], ".".join(path[1:])
    number = 2 * level - 1 + (layer == "conv1") - 1
    rgb = f"to_rgbs.{level - 1}" if level else "to_rgb1"
    home = rgb if layer == "torgb" else (f"convs.{number}" if level else "conv1")
    match kind:
        case "weight":
            return {f"{home}.conv.weight": tensor[None]}
        case "affine.weight" | "affine.bias":
            return {f"{home}.conv.modulation.{kind.removeprefix('affine.')}": tensor}
        case "noise_const":
            return {f"noises.noise_{number + 1}": tensor[None, None]}
        case "noise_strength":
            return {f"{home}.noise.weight": tensor.reshape(1)}
        case "bias":
            return (
                {f"{home}.bias": tensor.reshape(1, 3, 1, 1)} if layer == "torgb" else {f"{home}.activate.bias": tensor}
            )
        case _:
            return {f"{home}.conv.blur.kernel": tensor * 4} if layer == "conv0" else {}


def saved(value: Any, *, zipped: bool = True) -> bytes:
    """Write a value as ``torch.save`` does."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()
