"""Low-rank additions to the convolutions of a frozen generator, so that it can make a picture outside its own.

A weight W becomes W + strength * m * (up @ down), where m is the root mean square of W: factors of one size mean the
same in every layer. The base is never written; a generator with an adapter shares all its other tensors.

Source: arXiv:2106.09685 for the form; arXiv:2106.05744 for tuning a generator around one inverted picture.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.core.errors import FormatError, MissingError, RangeError
from trimtab.models.stylegan.frozen import FrozenGenerator
from trimtab.models.stylegan.generator import Generator
from trimtab.models.stylegan.layers import Convolution, ToRgb
from trimtab.models.stylegan.mobile_layers import Base, Separable, ToImage
from trimtab.store.durable import write_bytes
from trimtab.store.safetensors import TensorFile
from trimtab.store.safetensors_writer import safetensors_pieces

ADAPTED: Final[dict[type[nn.Module], str]] = {
    Convolution: "weight",
    ToRgb: "weight",
    Base: "weight",
    Separable: "pointwise",
    ToImage: "weight",
}
"""The tensor that is added to, by the kind of layer."""
MOST_BYTES: Final = 3_000_000
MOST_STRENGTH: Final = 4.0
REMEDY: Final = "Invert the photo again."


class Factors(NamedTuple):
    """An addition to one weight, seen as a matrix of a row an output."""

    up: Float[Tensor, "outputs rank"]
    down: Float[Tensor, "rank inputs"]


@dataclass(frozen=True)
class Adapter:
    """What is added, by the name of the generator's tensor."""

    factors: Mapping[str, Factors]

    @property
    def stored_bytes(self) -> int:
        """Size of the numbers as they are stored, in float16."""
        return sum(2 * part.numel() for pair in self.factors.values() for part in pair)

    def rounded(self) -> Adapter:
        """Give the adapter as it will be read again."""
        return Adapter({name: Factors(*(_stored(part).float() for part in p)) for name, p in self.factors.items()})


def adaptable(generator: Generator) -> dict[str, Tensor]:
    """Give the weights that can be added to, by name.

    Raises:
        RangeError: the generator is of no kind that is known here.
    """
    if not isinstance(generator, FrozenGenerator):
        raise RangeError(f"{type(generator).__name__} takes no adapter. Load the generator with load_generator.")
    found = {}
    for path, layer in generator.named_modules():
        if tensor := ADAPTED.get(type(layer)):
            found[f"{path}.{tensor}"] = layer.get_buffer(tensor)
    return found


def fresh_adapter(generator: Generator, *, rank: int, seed: int = 0) -> Adapter:
    """Give an adapter that changes nothing yet: ``down`` is random, ``up`` is zero.

    Args:
        generator: whose weights decide the shapes.
        rank: of each addition; less where the weight itself has less.
        seed: of ``down``.

    Raises:
        RangeError: the rank is not allowed, or the adapter would be larger than ``MOST_BYTES``.
    """
    if rank < 1:
        raise RangeError(f"rank {rank}: allowed is at least 1.")
    source = torch.Generator().manual_seed(seed)
    factors = {}
    for name, weight in adaptable(generator).items():
        outputs, inputs = weight.shape[0], weight[0].numel()
        own = min(rank, outputs, inputs)
        down = torch.randn(own, inputs, generator=source) / inputs**0.5
        factors[name] = Factors(weight.new_zeros(outputs, own), down.to(weight))
    adapter = Adapter(factors)
    if adapter.stored_bytes > MOST_BYTES:
        raise RangeError(f"rank {rank} makes {adapter.stored_bytes:,} bytes; {MOST_BYTES:,} are the most. Lower it.")
    return adapter


def most_rank(generator: Generator) -> int:
    """Give the largest rank with which an adapter of a generator is not larger than ``MOST_BYTES``.

    Raises:
        RangeError: the generator is of no kind that is known here, or so large that no rank is small enough.
    """
    sides = [(weight.shape[0], weight[0].numel()) for weight in adaptable(generator).values()]
    most = max((min(pair) for pair in sides), default=0)
    fitting = [r for r in range(1, most + 1) if 2 * sum(min(r, *pair) * sum(pair) for pair in sides) <= MOST_BYTES]
    if not fitting:
        raise RangeError(f"the weights of this generator take no adapter of {MOST_BYTES:,} bytes.")
    return fitting[-1]


def adapted(generator: Generator, adapter: Adapter, strength: float = 1.0) -> Generator:
    """Give a generator with an adapter, over the same frozen tensors.

    Only the weights that change are new; gradients flow to the adapter where it requires them.

    Args:
        generator: frozen; not changed.
        adapter: of this generator.
        strength: 0 gives the bits of the bare generator, 1 what was trained.

    Raises:
        RangeError: the adapter is of another generator, or the strength is not allowed.
    """
    if not 0 <= strength <= MOST_STRENGTH:
        raise RangeError(f"strength {strength:g}: allowed is 0 to {MOST_STRENGTH:g}.")
    weights = adaptable(generator)
    _check_shapes(adapter, weights)
    assert isinstance(generator, nn.Module)
    if strength == 0:
        return _with_weights(generator, {})  # type: ignore[return-value]
    changed = {name: _added(weights[name], pair, strength) for name, pair in adapter.factors.items()}
    return _with_weights(generator, changed)  # type: ignore[return-value]


def save_adapter(path: Path, adapter: Adapter) -> None:
    """Write an adapter in float16.

    Raises:
        CheckpointError: the disk refused.
    """
    parts = {f"{name}.{key}": _stored(part) for name, p in adapter.factors.items() for key, part in p._asdict().items()}
    write_bytes(path, b"".join(safetensors_pieces(parts)))


def read_adapter(path: Path, generator: Generator) -> Adapter:
    """Read an adapter of a generator, in float32 on its device.

    Raises:
        MissingError: there is no such file.
        FormatError: it is damaged, larger than an adapter can be, or holds what is no number.
        RangeError: it is of another generator.
    """
    if not path.is_file():
        raise MissingError(f"{path}: there is no adapter. {REMEDY}")
    file = TensorFile(path)
    if (size := path.stat().st_size) > MOST_BYTES + (1 << 16):
        raise FormatError(path, f"has {size:,} bytes; an adapter has at most {MOST_BYTES:,}", remedy=REMEDY)
    weights = adaptable(generator)
    names = {name.rpartition(".")[0] for name in file.shapes}
    if names - weights.keys() or len(file.shapes) != 2 * len(names):
        raise RangeError(f"{path} is an adapter of another generator. {REMEDY}")
    factors = {n: Factors(*(file.load(f"{n}.{key}").to(weights[n]) for key in Factors._fields)) for n in sorted(names)}
    adapter = Adapter(factors)
    _check_shapes(adapter, weights)
    if not all(bool(torch.isfinite(part).all()) for pair in factors.values() for part in pair):
        raise FormatError(path, "holds what is no number", remedy=REMEDY)
    return adapter


def _stored(part: Tensor) -> Tensor:
    return part.detach().half()


def _added(weight: Tensor, pair: Factors, strength: float) -> Tensor:
    scale = strength * weight.square().mean().sqrt()
    return weight + scale * (pair.up @ pair.down).reshape(weight.shape)


def _check_shapes(adapter: Adapter, weights: Mapping[str, Tensor]) -> None:
    for name, (up, down) in adapter.factors.items():
        weight = weights.get(name)
        if up.dim() != 2 or down.dim() != 2:
            raise RangeError(f"the adapter's {name!r:.100} is made of {up.dim()} and {down.dim()} axes; allowed are 2.")
        if weight is None or (up.shape[0], down.shape[1]) != (weight.shape[0], weight[0].numel()):
            raise RangeError(f"the adapter's {name!r:.100} fits no weight of this generator. {REMEDY}")
        if up.shape[1] != down.shape[0]:
            raise RangeError(f"the adapter's {name!r:.100} has factors of ranks {up.shape[1]} and {down.shape[0]}.")


def _with_weights(net: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Copy the modules on the way to some tensors, and put others in their places; all else is shared."""
    twin = copy.copy(net)
    twin._buffers, twin._modules = dict(net._buffers), dict(net._modules)
    below: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        child, _, rest = name.partition(".")
        if rest:
            below.setdefault(child, {})[rest] = tensor
        else:
            twin._buffers[child] = tensor
    for child, inner in below.items():
        twin._modules[child] = _with_weights(net.get_submodule(child), inner)
    if isinstance(twin, Convolution) and weights:
        twin.prepare(form=twin.form, noisy=twin.noise is not None)
    return twin
