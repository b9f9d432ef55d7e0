"""Hostile files of generators, each with what is wrong with it as its name, and the good files that they twist."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import generator_files as files
from trimtab.store.torch_archive import MOST_MEMBERS

COMMAND = "touch executed"
STATE = files.small_state()
GOOD = files.official_pickle(STATE, files.SMALL)
GOOD_PT = files.saved(files.rosinality_tree(STATE))
GOOD_OLD_PT = files.saved(files.rosinality_tree(STATE), zipped=False)
GOOD_TENSORFLOW = files.tensorflow_pickle(STATE)


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def raw(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


def whole(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


def call(module: str, name: str, argument: str = COMMAND) -> bytes:
    return whole(called(module, name, text(argument)))


def nested(content: bytes) -> bytes:
    """Hide bytes where the official files have the storage of a tensor."""
    return whole(called("torch.storage", "_load_from_bytes", raw(content)), 3)


def old_archive(*, place: int, payload: bytes, keys: Sequence[str] = ()) -> bytes:
    """Put a payload in the place of one of the five pickles of torch's older form."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system, {}, list(keys))]
    parts[place] = payload
    return b"".join(parts)


def zipped(members: dict[str, bytes], *, packed: bool = False) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def repacked(change: Callable[[dict[str, bytes]], Any], *, packed: bool = False) -> bytes:
    """Change the members of the good archive."""
    with zipfile.ZipFile(io.BytesIO(GOOD_PT)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    return zipped(members, packed=packed)


def twice(name: str) -> bytes:
    file = io.BytesIO(GOOD_PT)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(name, b"x")
    return file.getvalue()


def storage(count: int = 4, kind: str = "FloatStorage") -> bytes:
    """Write a storage of four numbers as the official files hold it."""
    id_ = b"(" + text("storage") + named("torch", kind) + text("0") + text("cpu")
    described = whole(id_ + b"J" + struct.pack("<i", count) + b"NtQ")
    return old_archive(place=3, payload=described, keys=["0"]) + struct.pack("<q", count) + bytes(16)


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *, source: bytes = b"") -> bytes:
    """Write a generator with one tensor, a view of four numbers."""
    numbers = b"".join(pickle.dumps(value, 2)[2:-1] for value in (offset, shape, strides))
    held = called("torch.storage", "_load_from_bytes", raw(source or storage()))
    return generator(called("torch._utils", "_rebuild_tensor_v2", held, numbers, b"\x89}"))


def generator(buffer: bytes) -> bytes:
    """Write the pickle of a network with one buffer."""
    state = b"}(" + text("_buffers") + b"}" + text("x") + buffer + b"s" + b"u"
    return whole(b"}" + text("G_ema") + network(state) + b"s", 3)


def network(state: bytes, class_name: str = "Generator") -> bytes:
    meta = b"}(" + text("class_name") + text(class_name) + text("state") + state + b"u"
    return called("torch_utils.persistence", "_reconstruct_persistent_obj", meta)


def array(code: str, content: bytes, *, shape: bytes = b"K\x01\x85") -> bytes:
    """Write an array of numpy with one element."""
    made = called("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), b"K\x00\x85", raw(b"b"))
    kind = called("numpy", "dtype", text(code), b"K\x00", b"K\x01")
    kind += b"(K\x03" + text("|" if "O" in code else "<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return made + b"(K\x01" + shape + kind + b"\x89" + content + b"tb"


def changed(**changes: Any) -> bytes:
    return files.official_pickle(STATE | changes, files.SMALL)


def with_tensor(name: str, value: torch.Tensor) -> bytes:
    return changed(**{name: value})


CONST = "synthesis.b4.const"
PERSISTENT = b"\x80\x02" + text("storage") + b"Q."


def kept(index: int) -> bytes:
    return b"h" + bytes([index])


def doubled(levels: int) -> bytes:
    """Write lists, each of which holds the one before it twice."""
    steps = [b"](" + kept(i) * 2 + b"eq" + bytes([i + 1]) for i in range(levels)]
    return b"(" + b"]q\x00" + b"".join(steps) + b"t"


def doubled_networks(levels: int) -> bytes:
    """Write networks, each of which holds the one before it twice."""
    body = b"}" + text("0") + network(b"}") + b"q\x00s"
    for i in range(levels):
        modules = text("_modules") + b"}(" + text("a") + kept(i) + text("b") + kept(i) + b"u"
        body += text(f"{i + 1}") + network(b"}" + modules + b"s") + b"q" + bytes([i + 1]) + b"s"
    return whole(body + text("G_ema") + kept(levels) + b"s", 3)


def network_in_itself() -> bytes:
    state = b"}" + text("_modules") + b"}q\x01s"
    body = b"}" + text("made") + network(state) + b"q\x02s"
    body += text("filled") + kept(1) + text("again") + kept(2) + b"ss"
    return whole(body + text("G_ema") + kept(2) + b"s", 3)


CALLS: dict[str, bytes] = {
    "os.system by the oldest protocol": f"cos\nsystem\n(S'{COMMAND}'\ntR.".encode(),
    "os.system": call("os", "system"),
    "posix.system": call("posix", "system"),
    "nt.system": call("nt", "system"),
    "os.system by STACK_GLOBAL": whole(text("os") + text("system") + b"\x93" + text(COMMAND) + b"\x85R", 4),
    "os.system by INST": f"(S'{COMMAND}'\nios\nsystem\n.".encode(),
    "os.system by OBJ": whole(b"(" + named("os", "system") + text(COMMAND) + b"o"),
    "os.system by NEWOBJ": whole(named("os", "system") + text(COMMAND) + b"\x85\x81"),
    "os.system by NEWOBJ_EX": whole(named("os", "system") + text(COMMAND) + b"\x85}\x92", 4),
    "a class by EXT1": whole(b"\x82\x01" + text(COMMAND) + b"\x85R"),
    "a class by EXT2": whole(b"\x83\x01\x00" + text(COMMAND) + b"\x85R"),
    "a class by EXT4": whole(b"\x84\x01\x00\x00\x00" + text(COMMAND) + b"\x85R"),
    "os.popen": call("os", "popen"),
    "subprocess.Popen": call("subprocess", "Popen"),
    "subprocess.check_output": call("subprocess", "check_output"),
    "builtins.eval": call("builtins", "eval", f"__import__('os').system({COMMAND!r})"),
    "builtins.exec": call("builtins", "exec", f"import os; os.system({COMMAND!r})"),
    "__builtin__.eval": call("__builtin__", "eval", f"__import__('os').system({COMMAND!r})"),
    "builtins.getattr": whole(called("builtins", "getattr", named("os", "path"), text("os"))),
    "builtins.open for writing": whole(called("builtins", "open", text("executed"), text("w"))),
    "importlib.import_module": call("importlib", "import_module", "antigravity"),
    "runpy.run_path": call("runpy", "run_path", "/etc/passwd"),
    "pickle.loads": whole(called("pickle", "loads", raw(call("os", "system"))), 3),
    "torch.load": call("torch", "load", "/etc/passwd"),
    "torch.hub.load": call("torch.hub", "load"),
    "numpy.load": call("numpy", "load"),
    "a socket": whole(called("socket", "create_connection", b"(" + text("127.0.0.1") + b"K\x09t")),
    "a dotted name": whole(text("torch.storage") + text("os.system") + b"\x93" + text(COMMAND) + b"\x85R", 4),
    "globals by a dotted name": whole(text("collections") + text("OrderedDict.__init__.__globals__") + b"\x93", 4),
    "a name that is a number": whole(b"K\x01" + text("system") + b"\x93", 4),
    "a call in the bytes of a storage": nested(call("os", "system")),
    "a call in the first pickle of a storage": nested(old_archive(place=0, payload=call("os", "system"))),
    "a call in the second pickle of a storage": nested(old_archive(place=1, payload=call("os", "system"))),
    "a call in the third pickle of a storage": nested(old_archive(place=2, payload=call("os", "system"))),
    "a call in the fourth pickle of a storage": nested(old_archive(place=3, payload=call("os", "system"))),
    "a call in the fifth pickle of a storage": nested(old_archive(place=4, payload=call("os", "system"))),
    "a call in an archive in the bytes of a storage": nested(zipped({"archive/data.pkl": call("os", "system")})),
    "bytes of a storage in bytes of a storage": nested(nested(call("os", "system"))),
    "an id in the bytes of a storage": nested(old_archive(place=3, payload=PERSISTENT)),
    "a module in the bytes of a storage": nested(
        old_archive(place=3, payload=whole(b"(" + text("module") + named("os", "system") + b"NNNNtQ"))
    ),
    "a call in the third pickle of an old archive": old_archive(place=2, payload=call("os", "system")),
    "a call in the fourth pickle of an old archive": old_archive(place=3, payload=call("os", "system")),
    "a call in an archive": zipped({"archive/data.pkl": call("os", "system")}),
    "a storage whose class is a call": zipped(
        {
            "a/data.pkl": whole(b"(" + text("storage") + named("os", "system") + text("0") + text("cpu") + b"K\x01tQ"),
            "a/data/0": bytes(4),
        }
    ),
    "an array of objects": generator(array("O8", b"](" + called("os", "system", text(COMMAND)) + b"e")),
    "an array of pickled objects": generator(array("O8", raw(call("os", "system")))),
    "a number that is a pickled object": generator(
        called("numpy.core.multiarray", "scalar", called("numpy", "dtype", text("O8")), raw(call("os", "system")))
    ),
    "state of a name": whole(named("collections", "OrderedDict") + b"}" + text("__call__") + b"Nsb"),
    "state of a number": whole(b"K\x01}b"),
    "a state that sets the class": generator(b"}}" + text("__class__") + text("os.system") + b"sb"),
    "a state that sets slots": generator(b"}N}" + text("__reduce__") + text("os.system") + b"s\x86b"),
    "a call of what was made": whole(b"}" + text(COMMAND) + b"\x85R"),
    "arguments that are no tuple": whole(named("collections", "OrderedDict") + b"]R"),
    "a mapping made of a call": whole(called("dnnlib.util", "EasyDict", text(COMMAND))),
    "a class of storages that is called": whole(called("numpy", "ndarray", text(COMMAND))),
    "an id of something outside": PERSISTENT,
    "an id of the oldest protocol": b"Pstorage\n.",
}

LARGE: dict[str, bytes] = {
    "lists of lists of lists": generator(doubled(40)),
    "a network of networks of networks": doubled_networks(40),
    "a network in itself": network_in_itself(),
    "100,000 tuples": whole(b")" + b"\x85" * 100_000),
    "100,000 lists": whole(b"]" * 100_000 + b"a" * 99_999),
    "100,000 mappings": whole((b"}" + text("k")) * 60_000 + b"N" + b"s" * 60_000),
    "100,000 marks": whole(b"(" * 100_000 + b"t" * 100_000),
    "a mapping with a nested key": whole(b"}" + b")" + b"\x85" * 60_000 + b"Ns"),
    "a mapping with a doubling key": whole(b"})" + b"q\x00h\x00\x86" * 60 + b"Ns"),
    "a mapping with a list as a key": whole(b"}]Ns"),
    "a mapping with numbers that collide": whole(b"}" + b"\x8a\x09" + (2**61 - 1).to_bytes(9, "little") + b"Ns"),
    "LONG4 of 2^31": whole(b"\x8b\xff\xff\xff\x7f"),
    "LONG1 of 255 bytes": whole(b"\x8a\xff" + bytes(255)),
    "BINBYTES of 2^32": whole(b"B\xff\xff\xff\xff"),
    "BINBYTES8 of 2^60": whole(b"\x8e" + (2**60).to_bytes(8, "little")),
    "BINUNICODE8 of 2^64": whole(b"\x8d" + b"\xff" * 8),
    "BYTEARRAY8 of 2^60": whole(b"\x96" + (2**60).to_bytes(8, "little"), 5),
    "a frame of 2^63": whole(b"\x95" + (2**63).to_bytes(8, "little") + b"N", 4),
    "PUT at 10^11": b"Np99999999999\n.",
    "values kept at 2^32": whole(b"N" + b"r\xff\xff\xff\xff" * 100_000),
    "a value that was never kept": whole(b"h\x07"),
    "3,000,000 mappings": whole(b"}" * 3_000_000),
    "3,000,000 sets": whole(b"\x8f" * 3_000_000, 4),
    "20 MB of short texts": whole(text("a" * 250) * 80_000),
    "a text that is decoded 40,000 times": whole(
        (text("x" * 100_000) + b"q\x00" + named("_codecs", "encode") + b"q\x01" + text("latin1") + b"q\x02")
        + b"h\x01h\x00h\x02\x86R" * 40_000
    ),
    "a text that is no UTF-8": whole(b"X\x02\x00\x00\x00\xff\xfe"),
    "protocol 9": b"\x80\x09N.",
    "nothing": b"",
    "only an end": b".",
    "two values": whole(b"NN"),
    "a name without an end": b"\x80\x02c" + b"a" * 5000,
}

TENSORS: dict[str, bytes] = {
    "a tensor larger than its storage": tensor(0, (5,), (1,)),
    "a tensor that repeats its storage": tensor(0, (100_000, 100_000), (0, 0)),
    "a tensor behind its storage": tensor(4, (1,), (1,)),
    "a tensor before its storage": tensor(-1, (1,), (1,)),
    "a tensor that walks backwards": tensor(3, (4,), (-1,)),
    "a tensor of 2^80 numbers": tensor(0, (2**40, 2**40), (1, 1)),
    "a tensor without numbers": tensor(0, (0, 2**40), (1, 1)),
    "a tensor of 40 axes": tensor(0, (1,) * 40, (1,) * 40),
    "a tensor with too few strides": tensor(0, (2, 2), (1,)),
    "a storage of 2^31 numbers": tensor(0, (1,), (1,), source=storage(2**31 - 1)),
    "a storage of -1 numbers": tensor(0, (1,), (1,), source=storage(-1)),
    "a storage of another class": tensor(0, (1,), (1,), source=storage(kind="ComplexFloatStorage")),
    "an array with too few bytes": generator(array("f4", raw(bytes(3)))),
    "an array of 2^40 numbers": generator(array("f4", raw(bytes(4)), shape=b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85")),
    "an array of texts": generator(array("S4", raw(bytes(4)))),
    "an array of records": generator(array("V4", raw(bytes(4)))),
    "an array of dates": generator(array("M8", raw(bytes(8)))),
    "an array of the other order of bytes": files.tensorflow_pickle(STATE, variables=[("x", np.ones(3, ">f4"))]),
    "an array without numbers": files.tensorflow_pickle(STATE, variables=[("x", np.ones((0, 3), "f4"))]),
    "a variable of no part": files.tensorflow_pickle(STATE, variables=[("x", np.ones(3, "f4"))]),
    "a variable of half a name": files.tensorflow_pickle(
        STATE, variables=[("dlatent_avg", np.ones(3, "f4")), ("synthesis/", np.ones(3, "f4"))]
    ),
    "a number too large for float32": files.tensorflow_pickle(STATE, variables=[("dlatent_avg", 1e300)]),
    "two constants in one": files.tensorflow_pickle(STATE | {CONST: torch.zeros(2, 4, 4, 4)}),
    "a tensor of another shape": with_tensor(CONST, torch.zeros(4, 4, 5)),
    "a tensor of too few axes": with_tensor(CONST, torch.zeros(4)),
    "a tensor of whole numbers": with_tensor(CONST, torch.zeros(4, 4, 4, dtype=torch.int32)),
    "a tensor of large numbers": with_tensor(CONST, torch.zeros(4, 4, 4, dtype=torch.float64)),
    "a tensor with NaN": with_tensor(CONST, torch.full((4, 4, 4), float("nan"))),
    "a tensor with infinity": with_tensor(CONST, torch.full((4, 4, 4), float("inf"))),
    "a tensor that has no place": with_tensor("synthesis.b4.extra", torch.zeros(4)),
    "tensors that share one storage": files.official_pickle(
        dict.fromkeys([f"extra{i}.noise_const" for i in range(300)], torch.zeros(1000)) | STATE, files.SMALL
    ),
}

ARCHIVES: dict[str, bytes] = {
    "an archive whose pickle is packed": repacked(lambda members: None, packed=True),
    "an archive with 100 MB in 100 KB": zipped({"archive/data.pkl": b"}" * 100_000_000}, packed=True),
    "an archive with a member twice": twice("archive/data.pkl"),
    "an archive with two pickles": repacked(lambda members: members.update({"other/data.pkl": b"N."})),
    "an archive without a pickle": zipped({"archive/version": b"3\n"}),
    "an archive of too many members": zipped({f"archive/{i}": b"" for i in range(MOST_MEMBERS + 1)}),
    "an archive cut in half": GOOD_PT[: len(GOOD_PT) // 2],
    "an archive of a big-endian machine": repacked(lambda members: members.update({"archive/byteorder": b"big"})),
    "an archive with a storage cut short": repacked(lambda members: members.update({"archive/data/0": b"x"})),
    "an archive without a storage": repacked(lambda members: members.pop("archive/data/0")),
    "an archive whose pickle goes on": repacked(
        lambda members: members.update({"archive/data.pkl": members["archive/data.pkl"] + b"N."})
    ),
    "an old archive with more numbers": GOOD_OLD_PT + bytes(4),
    "an old archive cut short": GOOD_OLD_PT[:-1],
    "an official file that goes on": GOOD + b"N.",
    "an official file cut short": GOOD[:-1],
    "a tar archive": b"./" + bytes(98) + b"0000644\0" + bytes(149) + b"ustar\0" + bytes(1024),
    "a GGUF file": b"GGUF" + bytes(100),
    "zeros": bytes(1000),
}

HOSTILE = {**CALLS, **LARGE, **TENSORS, **ARCHIVES}
