"""Generators in the pickles of the time of TensorFlow: three networks, each a list of named arrays.

Source: the names and axes of the variables in the published files (stylegan2-car-config-f.pkl and its like), and how
they relate to those of PyTorch: kernels there have their channels last, those of up layers are turned by half a turn,
and the bias of a style lies 1 lower.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from trimtab.models.stylegan.found import MOST_TENSORS, FoundGenerator, array_of, resample_filter, sizes_of
from trimtab.models.stylegan.official import MOST_DEPTH, NETWORK
from trimtab.store.pickle_machine import Refused, Shell

NETWORKS: Final = 3
AVERAGED: Final = 2
OLD_ONLY: Final = "lod"  # of progressive growing; nothing reads it


def is_tensorflow(value: Any) -> bool:
    """Tell whether a pickle holds networks of TensorFlow."""
    return isinstance(value, tuple) and any(isinstance(item, Shell) and item.name == NETWORK for item in value)


def tensorflow_generator(value: tuple[Any, ...]) -> FoundGenerator:
    """Find the averaged generator, the third network of the file.

    Raises:
        Refused: there is none, or it is of another kind.
    """
    if len(value) != NETWORKS or not isinstance(value[AVERAGED], Shell):
        raise Refused(f"holds {len(value)} networks; expected are {NETWORKS}, the third of them the averaged generator")
    network = value[AVERAGED]
    with np.errstate(all="ignore"):  # what is not finite is refused later, with its name
        given = dict(_variables(network))
        given.pop(OLD_ONLY, None)
        tensors = _renamed(given)
    if given:
        raise Refused(f"holds the variable {sorted(given)[0]!r:.80}, which has no place in a StyleGAN2")
    arguments = network.state.get("static_kwargs")
    clamp = arguments.get("conv_clamp") if isinstance(arguments, dict) else None
    if clamp is not None and (type(clamp) not in (int, float) or not 0 < clamp < 1e9):
        raise Refused("clamps activations by what is no positive number")
    sizes = sizes_of(tensors, clamp=None if clamp is None else float(clamp))
    return FoundGenerator("official, of TensorFlow", sizes, tensors, arguments if isinstance(arguments, dict) else {})


def _renamed(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take out of the variables what has an official name."""
    tensors = {"mapping.w_avg": _take(given, "dlatent_avg", 1)}
    for index in range(sum(name.startswith("mapping/Dense") and name.endswith("/weight") for name in given)):
        tensors[f"mapping.fc{index}.weight"] = _take(given, f"mapping/Dense{index}/weight", 2).T
        tensors[f"mapping.fc{index}.bias"] = _take(given, f"mapping/Dense{index}/bias", 1)
    blocks = {name.split("/")[1].partition("x")[0] for name in given if name.startswith("synthesis/")}
    for size in sorted(int(block) for block in blocks if block.isdecimal()):
        tensors.update(_block(given, size))
    return tensors


def _variables(network: Shell) -> Iterator[tuple[str, np.ndarray]]:
    """Walk through a network and those it is made of; what refers to itself ends at the bounds."""
    waiting, seen = [("", network, 0)], 0
    while waiting:
        prefix, here, depth = waiting.pop()
        seen += 1
        state = here.state if isinstance(here.state, dict) else {}
        variables, parts = state.get("variables", []), state.get("components", {})
        if depth > MOST_DEPTH or seen > MOST_DEPTH or not isinstance(variables, list) or not isinstance(parts, dict):
            raise Refused("holds a network whose variables are unreadable")
        if len(variables) > MOST_TENSORS or len(parts) > MOST_DEPTH:
            raise Refused(f"holds a network of more than {MOST_TENSORS} variables")
        for variable in variables:
            if not isinstance(variable, tuple) or len(variable) != 2 or not isinstance(variable[0], str):
                raise Refused("holds a variable without a name")
            name, value = variable
            # TensorFlow gives variables without axes as plain numbers.
            yield prefix + name, np.array(value, np.float32) if isinstance(value, float) else array_of(value, name)
        waiting += [(f"{prefix}{name}/", part, depth + 1) for name, part in parts.items() if isinstance(part, Shell)]


def _take(given: dict[str, np.ndarray], name: str, axes: int, *, ones: int = 0) -> np.ndarray:
    """Take a variable, without the axes of 1 at its front that the network here does not have."""
    if name not in given:
        raise Refused(f"holds no variable {name!r}; it is no StyleGAN2 of TensorFlow")
    found = given.pop(name)
    if found.ndim != ones + axes or found.shape[:ones] != (1,) * ones:
        raise Refused(
            f"variable {name!r} has the shape {list(found.shape)}; expected are {axes} axes behind {ones} of 1"
        )
    return found.reshape(found.shape[ones:])


def _block(given: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    here, there = f"synthesis/{size}x{size}", f"synthesis.b{size}"
    tensors = {f"{there}.resample_filter": resample_filter()}
    first = 2 * size.bit_length() - 7  # number of the noise of the block's first layer
    if size == 4:
        tensors[f"{there}.const"] = _take(given, f"{here}/Const/const", 3, ones=1)
        tensors.update(_convolution(given, f"{here}/Conv", f"{there}.conv1", first + 1))
    else:
        tensors.update(_convolution(given, f"{here}/Conv0_up", f"{there}.conv0", first, turned=True))
        tensors.update(_convolution(given, f"{here}/Conv1", f"{there}.conv1", first + 1))
    return tensors | _layer(given, f"{here}/ToRGB", f"{there}.torgb")


def _convolution(
    given: dict[str, np.ndarray], name: str, official: str, noise: int, *, turned: bool = False
) -> dict[str, np.ndarray]:
    return _layer(given, name, official, turned=turned) | {
        f"{official}.noise_strength": _take(given, f"{name}/noise_strength", 0),
        f"{official}.noise_const": _take(given, f"synthesis/noise{noise}", 2, ones=2),
        f"{official}.resample_filter": resample_filter(),
    }


def _layer(given: dict[str, np.ndarray], name: str, official: str, *, turned: bool = False) -> dict[str, np.ndarray]:
    kernel = _take(given, f"{name}/weight", 4)
    return {
        f"{official}.weight": (kernel[::-1, ::-1] if turned else kernel).transpose(3, 2, 0, 1),
        f"{official}.bias": _take(given, f"{name}/bias", 1),
        f"{official}.affine.weight": _take(given, f"{name}/mod_weight", 2).T,
        f"{official}.affine.bias": _take(given, f"{name}/mod_bias", 1) + np.float32(1),
    }
