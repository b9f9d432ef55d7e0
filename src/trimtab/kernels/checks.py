"""Guards in front of the kernels: whatever passes here may be handed to C as bare pointers."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.core.errors import RangeError
from trimtab.kernels.packed import BLOCK_SIZES, FLOATS, NESTED_BLOCK, Packed4bit, blocks_of


def floats(name: str, tensor: Tensor) -> None:
    """Refuse a dtype that the kernels do not read."""
    if tensor.dtype not in FLOATS:
        raise RangeError(
            f"{name} has dtype {tensor.dtype}. Allowed: float32, float16, bfloat16. Convert it with .to(...)."
        )


def dtype_out(dtype: torch.dtype) -> None:
    """Refuse a dtype that the kernels do not write."""
    if dtype not in FLOATS:
        raise RangeError(f"dtype={dtype} cannot be written. Allowed: float32, float16, bfloat16.")


def matrix(name: str, tensor: Tensor) -> None:
    """Refuse anything but two dimensions."""
    if tensor.ndim != 2:
        raise RangeError(f"{name} has shape {tuple(tensor.shape)}. Allowed: two dimensions, rows and cols.")


def block_size_4bit(block_size: int) -> None:
    """Refuse a block size that the 4-bit format does not know."""
    if block_size not in BLOCK_SIZES:
        allowed = ", ".join(map(str, BLOCK_SIZES))
        raise RangeError(f"block_size={block_size} is not one of {allowed}. 64 is what published checkpoints use.")


def block_size_8bit(block_size: int) -> None:
    """Refuse a block size that is not positive."""
    if block_size < 1:
        raise RangeError(f"block_size={block_size} must be at least 1. 256 is the usual value.")


_QUANTIZE_AGAIN = "Quantize the weight again, or check what the tensor was loaded from."


def plain(name: str, tensor: Tensor, dtype: torch.dtype, count: int, *, remedy: str = _QUANTIZE_AGAIN) -> None:
    """Refuse a tensor that is not a contiguous run of exactly ``count`` values of one dtype, and say what to do."""
    if tensor.dtype is not dtype or tensor.numel() != count or not tensor.is_contiguous():
        layout = "contiguous" if tensor.is_contiguous() else "not contiguous"
        raise RangeError(
            f"{name} holds {tensor.numel()} values of {tensor.dtype}, {layout}. Allowed here: {count} values of "
            f"{dtype}, contiguous. {remedy}"
        )


def same_device(device: torch.device, **tensors: Tensor | None) -> None:
    """Refuse tensors on another device than the first."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != device:
            raise RangeError(f"{name} is on {tensor.device}, not on {device}. Move all of a weight's tensors together.")


def float32_together(**tensors: Tensor) -> None:
    """Refuse tensors that are not all float32 on the device of the first."""
    first, device = next((name, tensor.device) for name, tensor in tensors.items())
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise RangeError(f"{name} is {tensor.dtype}. Allowed: float32. Convert it with .float().")
        if tensor.device != device:
            raise RangeError(
                f"{name} is on {tensor.device}, {first} on {device}. Allowed: one device. Move one of them."
            )


@dataclass(slots=True, eq=False)
class Checked:
    """A packed weight that was found sound, and what was read from it then.

    Attributes:
        codes: the tensor itself, without keeping it alive.
        rest: the other parts.
        pointers: where the tensors' memory was.
        native: the weight as compiled code takes it, kept here by the module that calls it.
    """

    codes: weakref.ref[Tensor]
    rest: tuple[object, ...]
    pointers: tuple[int, ...]
    native: object = None

    def still_holds(self, packed: Packed4bit) -> bool:
        """Say whether these are the same tensors in the same places, so that nothing need be looked at again."""
        codes, absmax, table, shape, block_size, nested_absmax, nested_offset, nested_table = packed
        old = self.rest
        return (
            self.codes() is codes
            and old[0] is absmax
            and old[1] is table
            and old[2] == shape
            and old[3] == block_size
            and old[4] is nested_absmax
            and old[5] is nested_offset
            and old[6] is nested_table
            and _pointers(packed) == self.pointers
        )


_known: dict[int, Checked] = {}


def _pointers(packed: Packed4bit) -> tuple[int, ...]:
    codes, absmax, table, _, _, nested_absmax, nested_offset, nested_table = packed
    if nested_absmax is None or nested_offset is None or nested_table is None:
        return codes.data_ptr(), absmax.data_ptr(), table.data_ptr()
    return (
        codes.data_ptr(),
        absmax.data_ptr(),
        table.data_ptr(),
        nested_absmax.data_ptr(),
        nested_offset.data_ptr(),
        nested_table.data_ptr(),
    )


def packed_4bit(packed: Packed4bit) -> Checked:
    """Refuse a packed weight whose tensors do not fit its shape and block size; look closely only the first time."""
    key = id(packed.codes)
    known = _known.get(key)
    if known is not None and known.still_holds(packed):
        return known
    _look_at(packed)
    forget = weakref.ref(packed.codes, lambda _: _known.pop(key, None))
    known = _known[key] = Checked(forget, tuple(packed[1:]), _pointers(packed))
    return known


def recall(packed: Packed4bit) -> Checked:
    """Give what was found about a weight that was checked a moment ago."""
    known = _known.get(id(packed.codes))
    if known is not None and known.rest[0] is packed.absmax and known.rest[4] is packed.nested_absmax:
        return known
    return packed_4bit(packed)


def _look_at(packed: Packed4bit) -> None:
    block_size_4bit(packed.block_size)
    rows, cols = packed.shape
    if rows < 0 or cols < 0:
        raise RangeError(f"shape={packed.shape} has a negative size. Allowed: zero and above.")
    blocks = blocks_of(rows * cols, packed.block_size)
    plain("codes", packed.codes, torch.uint8, (rows * cols + 1) // 2)
    plain("table", packed.table, torch.float32, 16)
    if packed.nested_absmax is None:
        plain("absmax", packed.absmax, torch.float32, blocks)
    else:
        _nested(packed, blocks)
    tensors = {name: value for name, value in packed._asdict().items() if isinstance(value, Tensor)}
    same_device(packed.codes.device, **tensors)


def _nested(packed: Packed4bit, blocks: int) -> None:
    if packed.nested_absmax is None or packed.nested_offset is None or packed.nested_table is None:
        raise RangeError(
            "double quantization is only half there. Allowed: nested_absmax, nested_offset and nested_table together, "
            "or none of them."
        )
    plain("absmax", packed.absmax, torch.uint8, blocks)
    plain("nested_absmax", packed.nested_absmax, torch.float32, blocks_of(blocks, NESTED_BLOCK))
    plain("nested_offset", packed.nested_offset, torch.float32, 1)
    plain("nested_table", packed.nested_table, torch.float32, 256)


def rows_8bit(codes: Tensor, absmax: Tensor) -> None:
    """Refuse a row-wise 8-bit weight whose scales do not fit its rows."""
    matrix("codes", codes)
    plain("codes", codes, torch.int8, codes.numel())
    plain("absmax", absmax, torch.float32, codes.shape[0])
    same_device(codes.device, absmax=absmax)


def operand(name: str, x: Tensor, size: int, device: torch.device) -> None:
    """Refuse an activation whose last dimension, dtype or device does not fit the weight."""
    floats(name, x)
    if x.ndim == 0 or x.shape[-1] != size:
        raise RangeError(
            f"{name} has shape {tuple(x.shape)}. Allowed: any leading dimensions and a last one of {size}, "
            "as the weight's shape asks."
        )
    if x.device != device:
        raise RangeError(f"{name} is on {x.device}, the weight on {device}. Move one of them.")


def bias_of(bias: Tensor | None, rows: int, device: torch.device) -> None:
    """Refuse a bias that does not have one value a row."""
    if bias is None:
        return
    floats("bias", bias)
    if bias.shape != (rows,) or bias.device != device:
        raise RangeError(
            f"bias has shape {tuple(bias.shape)} on {bias.device}. Allowed: ({rows},) on {device}, as the weight is."
        )
