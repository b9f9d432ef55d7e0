"""Files of ``torch.save`` without torch's reader: the zip form, the older form, and storages inside other pickles.

Everything is a view of the file's bytes. What is packed is refused, since torch packs nothing.

Source: the layout that ``torch/serialization.py`` writes, protocol 1001 for the older form and version 3 for the zip.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from trimtab.core.errors import FormatError
from trimtab.store.pickle_machine import Budget, Maker, Name, Refused, Rules
from trimtab.store.pickled_tensors import ARRAY_MAKERS, STORAGE_TYPES, TENSOR_MAKERS, Storage, only_named
from trimtab.store.restricted_pickle import PLAIN_MAKERS, arguments_of, read_pickle

MAGIC: Final = 0x1950A86A20F9469CFC6C
STREAM_SIGNATURE: Final = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little")
PROTOCOL: Final = 1001
MOST_FILE_BYTES: Final = 2 << 30
MOST_MEMBERS: Final = 8192
MEMBER_SIGNATURE: Final = b"PK\x01\x02"
LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
LOCAL_SIGNATURE: Final = b"PK\x03\x04"
UNREADABLE_ZIP: Final = (
    zipfile.BadZipFile,
    ValueError,
    KeyError,
    OSError,
    EOFError,
    RuntimeError,
    OverflowError,
    struct.error,
)

ARCHIVE_MAKERS: Final[Mapping[str, Maker]] = MappingProxyType(
    dict(PLAIN_MAKERS) | dict(TENSOR_MAKERS) | dict(ARRAY_MAKERS) | {name: only_named(name) for name in STORAGE_TYPES}
)
"""What files of torch may name."""


def read_file(path: Path) -> memoryview:
    """Read a file whole, once.

    Raises:
        FormatError: it cannot be read, is no regular file, or is too large.
    """
    try:
        if not path.is_file():
            raise FormatError(path, "is no regular file")
        if (size := path.stat().st_size) > MOST_FILE_BYTES:
            raise FormatError(path, f"has {size} bytes; {MOST_FILE_BYTES} are the most")
        with path.open("rb") as file:
            return memoryview(file.read(MOST_FILE_BYTES))
    except OSError as error:
        raise FormatError(path, f"cannot be read ({error.strerror})") from error


def read_archive(data: memoryview) -> Any:
    """Read what ``torch.save`` wrote, in either form.

    Returns:
        Values as ``PickleMachine`` gives them; tensors as ``PickledTensor``.

    Raises:
        Refused: it is damaged, hostile, packed or of another kind.
    """
    return _read_zip(data) if bytes(data[:4]) == LOCAL_SIGNATURE else read_stream(data, Budget())


def is_archive(data: memoryview) -> bool:
    """Tell from the first bytes whether ``torch.save`` wrote them."""
    return bytes(data[:14]).startswith((LOCAL_SIGNATURE, STREAM_SIGNATURE))


def read_stream(data: memoryview, budget: Budget) -> Any:
    """Read the older form: five pickles, then the numbers of every storage.

    Raises:
        Refused: it is damaged or hostile.
    """
    storages: dict[str, Storage] = {}

    def storage(id_: Any) -> Storage:
        name, key, count, view = _storage_id(id_, 6)
        if view[0] is not None:
            raise Refused("holds a storage that is part of another")
        return storages.setdefault(key, Storage(_element_type(name), count))

    rules, position = Rules({}), 0
    for wanted, what in ((MAGIC, "magic number"), (PROTOCOL, "version")):
        found, position = read_pickle(data, rules, budget, start=position)
        if type(found) is not int or found != wanted:
            raise Refused(f"does not begin with the {what} of torch's files")
    system, position = read_pickle(data, rules, budget, start=position)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refused("was not written by a little-endian machine")
    value, position = read_pickle(data, Rules(ARCHIVE_MAKERS, storage), budget, start=position)
    keys, position = read_pickle(data, rules, budget, start=position)
    _place_numbers(data[position:], keys, storages)
    return value


def _place_numbers(data: memoryview, keys: Any, storages: Mapping[str, Storage]) -> None:
    """Give every storage its bytes, which stand in the order of the keys, each behind its count."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or {*keys} != {*storages}:
        raise Refused("lists other storages than it uses")
    position = 0
    for key in keys:
        storage = storages[key]
        end = position + 8 + storage.count * storage.dtype.itemsize
        if end > len(data) or int.from_bytes(data[position : position + 8], "little") != storage.count:
            raise Refused("ends early, or gives a storage another size than it announced")
        storage.content, position = data[position + 8 : end], end
    if position != len(data) or len(keys) != len(storages):
        raise Refused("holds numbers that no storage owns")


def _storage_id(id_: Any, length: int) -> tuple[Name, str, int, tuple[Any, ...]]:
    if not isinstance(id_, tuple) or len(id_) != length or id_[0] != "storage":
        raise Refused("refers to something outside of it that is no storage")
    name, key, _, count = arguments_of("a storage", id_[1:], Name, str, object, int)
    if not 0 <= count < MOST_FILE_BYTES:
        raise Refused(f"announces a storage of {count} numbers")
    return name, key, count, id_[5:]


def _element_type(name: Name) -> np.dtype[Any]:
    if name.name not in STORAGE_TYPES:
        raise Refused(f"holds a storage of the class {name.name}; allowed are {', '.join(STORAGE_TYPES)}")
    return np.dtype(STORAGE_TYPES[name.name])


def _read_zip(data: memoryview) -> Any:
    members = _members(data)
    stems = [name.removesuffix("data.pkl") for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(stems) != 1:
        raise Refused(f"holds {len(stems)} members called data.pkl; files of torch hold 1")
    stem = stems[0]
    if (order := members.get(f"{stem}byteorder")) is not None and bytes(_content(data, order)) != b"little":
        raise Refused("was not written by a little-endian machine")
    storages: dict[str, Storage] = {}

    def storage(id_: Any) -> Storage:
        name, key, count, _ = _storage_id(id_, 5)
        dtype = _element_type(name)
        if key not in storages:
            if f"{stem}data/{key}" not in members:
                raise Refused(f"holds no numbers for the storage {key!r:.40}")
            content = _content(data, members[f"{stem}data/{key}"])
            if len(content) != count * dtype.itemsize:
                raise Refused(f"holds {len(content)} bytes for {count} numbers of a storage")
            storages[key] = Storage(dtype, count, content)
        return storages[key]

    pickle = _content(data, members[f"{stem}data.pkl"])
    try:
        value, end = read_pickle(pickle, Rules(ARCHIVE_MAKERS, storage), Budget())
    except Refused as refusal:
        raise Refused(f"in data.pkl it {refusal}") from refusal
    if end != len(pickle):
        raise Refused("goes on in data.pkl behind its end")
    return value


def _members(data: memoryview) -> dict[str, zipfile.ZipInfo]:
    """List an archive whose number of members is bounded before Python's reader makes an object of each."""
    if _count_up_to(data.obj, MEMBER_SIGNATURE, MOST_MEMBERS + 1) > MOST_MEMBERS:
        raise Refused(f"is an archive of more than {MOST_MEMBERS} members")
    try:
        with zipfile.ZipFile(io.BytesIO(data.obj)) as archive:
            members = archive.infolist()
    except UNREADABLE_ZIP as error:
        raise Refused(f"is no whole zip archive ({error!s:.80})") from error
    names = {member.filename: member for member in members}
    if len(names) != len(members):
        raise Refused("is an archive with a name in it twice")
    return names


def _count_up_to(raw: Any, wanted: bytes, most: int) -> int:
    count, position = 0, raw.find(wanted)
    while position >= 0 and count < most:
        count, position = count + 1, raw.find(wanted, position + 1)
    return count


def _content(data: memoryview, member: zipfile.ZipInfo) -> memoryview:
    """Give the bytes of a member where they stand."""
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size or member.flag_bits & 1:
        raise Refused(f"holds the packed member {member.filename!r:.80}, which torch never writes")
    header = data[member.header_offset : member.header_offset + LOCAL_HEADER.size]
    if member.header_offset < 0 or len(header) < LOCAL_HEADER.size:
        raise Refused(f"places {member.filename!r:.80} outside of it")
    signature, name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)
    start = member.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes
    if signature != LOCAL_SIGNATURE or start + member.file_size > len(data):
        raise Refused(f"places {member.filename!r:.80} where it is not")
    return data[start : start + member.file_size]


def storage_from_bytes(budget: Budget) -> Maker:
    """Give what stands for ``torch.storage._load_from_bytes``.

    torch's own function of this name is a reader without restrictions: to allow it in a list of names is to run
    whatever the bytes hold. Here they are read by the same rules as all else, and must hold one storage.
    """

    def make(arguments: tuple[Any, ...]) -> Storage:
        (content,) = arguments_of("a storage's bytes", arguments, memoryview)
        try:
            value = read_stream(content, budget)
        except Refused as refusal:
            raise Refused(f"in the bytes of a storage it {refusal}") from refusal
        if not isinstance(value, Storage):
            raise Refused("holds something else in the bytes of a storage")
        return value

    return make
