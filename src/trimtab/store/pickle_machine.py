"""A machine for the part of the pickle format that files of tensors need, without the power to run anything.

Python's own reader is not used, not even restricted: what it calls is chosen by the file, and a single name too many in
its list of allowed names runs whatever the file says. Here a name is looked up in a table of functions of this project,
what is not in the table ends the reading, and nothing is imported. Bytes are never copied: they stay views of the
file. The number of operations and the length of numbers and texts are bounded, so that a file can neither grow in
memory nor take long.

Source: the notes on each operation in CPython's pickletools.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

MOST_OPERATIONS: Final = 250_000
MOST_TEXT_BYTES: Final = 8 << 20
LONG_TEXT_BYTES: Final = 256
MOST_NAME_BYTES: Final = 256
MOST_NUMBER_BYTES: Final = 16
MOST_KEY: Final = 1 << 31
NEWEST_PROTOCOL: Final = 5

Maker: TypeAlias = Callable[[tuple[Any, ...]], Any]


class Refused(ValueError):
    """What a pickle holds or asks for is not read.

    Attributes:
        offset: position in what was read, where that is known.
    """

    def __init__(self, problem: str, offset: int | None = None) -> None:
        """Say what was found, and what is allowed."""
        super().__init__(problem)
        self.offset = offset


@dataclass(eq=False)
class Text:
    """A text longer than any that is needed, left undecoded where it stands.

    Attributes:
        content: its UTF-8.
        meant: the bytes that it stands for, once somebody has asked for them; so that nobody makes them twice.
    """

    content: memoryview
    meant: memoryview | None = None


@dataclass(frozen=True, eq=False)
class Name:
    """What a file calls by its name, and what is done instead.

    Attributes:
        name: module and name, with a dot between them.
        make: takes the arguments and gives a value, or raises ``Refused``; never what the file means.
    """

    name: str
    make: Maker


@dataclass(eq=False)
class Shell:
    """What stands for an object of a class that is not here: the name of its class, and what the file says it holds."""

    name: str
    state: Any = None

    def absorb(self, state: Any) -> None:
        """Keep a state; nothing is done with it."""
        self.state = state


@dataclass
class Budget:
    """What one file may still ask for, over all the pickles in it."""

    operations: int = MOST_OPERATIONS
    text_bytes: int = MOST_TEXT_BYTES

    def spend_operation(self) -> None:
        """Count one operation.

        Raises:
            Refused: it was one too many.
        """
        self.operations -= 1
        if self.operations < 0:
            raise Refused(f"takes more than {MOST_OPERATIONS} operations to build")

    def spend_text(self, nbytes: int) -> None:
        """Count text that is decoded.

        Raises:
            Refused: it was too much.
        """
        self.text_bytes -= nbytes
        if self.text_bytes < 0:
            raise Refused(f"holds more than {MOST_TEXT_BYTES} bytes of short texts")


@dataclass(frozen=True)
class Rules:
    """What a pickle may name.

    Attributes:
        makers: what stands for each name that is allowed, under module and name with a dot between them.
        persistent: what stands for an id of something outside the pickle; None where there may be none.
    """

    makers: Mapping[str, Maker]
    persistent: Callable[[Any], Any] | None = None


class PickleMachine:
    """The bytes, the stack and the memory of what was kept, with one method an operation.

    Values are None, bool, int, float, str, tuple, list (sets too), dict, memoryview (all bytes), ``Text``, ``Name`` and
    what the makers give. Every method raises ``Refused`` where the bytes make no sense.
    """

    def __init__(self, data: memoryview, rules: Rules, budget: Budget, *, start: int = 0) -> None:
        """Stand at the beginning of a pickle."""
        self.data, self.rules, self.budget, self.position = data, rules, budget, start
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def take(self, nbytes: int) -> memoryview:
        """Give the next bytes, without a copy."""
        end = self.position + nbytes
        if end > len(self.data):
            raise Refused(f"ends early: {nbytes} bytes are announced and {len(self.data) - self.position} are left")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, nbytes: int, *, signed: bool = False) -> int:
        """Read a whole number."""
        return int.from_bytes(self.take(nbytes), "little", signed=signed)

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def pop(self) -> Any:
        """Take the value on top."""
        if not self._stack:
            raise Refused("takes a value where none is left")
        return self._stack.pop()

    def result(self) -> Any:
        """Give what was built, at the end."""
        if self._outer or len(self._stack) != 1:
            raise Refused("ends in the middle of a value")
        return self._stack.pop()

    def protocol(self) -> None:
        """Check the version."""
        if (version := self.number(1)) > NEWEST_PROTOCOL:
            raise Refused(f"is a pickle of protocol {version}; {NEWEST_PROTOCOL} is the newest")

    def frame(self) -> None:
        """Pass over the length of a frame, which says nothing that the operations in it do not say."""
        if self.number(8) > len(self.data) - self.position:
            raise Refused("announces a frame beyond its end")

    def push_long(self) -> None:
        """Push a number with its length before it."""
        if (nbytes := self.number(1)) > MOST_NUMBER_BYTES:
            raise Refused(f"holds a whole number of {nbytes} bytes; {MOST_NUMBER_BYTES} are the most")
        self.push(self.number(nbytes, signed=True))

    def push_float(self) -> None:
        """Push a number with a fraction."""
        self.push(struct.unpack(">d", self.take(8))[0])

    def push_bytes(self, length_bytes: int) -> None:
        """Push bytes, as a view, with their length before them."""
        self.push(self.take(self.number(length_bytes)))

    def push_text(self, length_bytes: int) -> None:
        """Push a text with its length before it."""
        raw = self.take(self.number(length_bytes))
        self.push(Text(raw) if len(raw) > LONG_TEXT_BYTES else self._decode(raw))

    def _decode(self, raw: bytes | memoryview) -> str:
        self.budget.spend_text(len(raw))
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError as error:
            raise Refused("holds a text that is no UTF-8") from error

    def _line(self) -> str:
        raw = bytes(self.data[self.position : self.position + MOST_NAME_BYTES])
        line, newline, _ = raw.partition(b"\n")
        if not newline:
            raise Refused(f"holds a name without an end, or of more than {MOST_NAME_BYTES} bytes")
        self.position += len(line) + 1
        return self._decode(line)

    def open(self) -> None:
        """Begin a group of values."""
        self._outer.append(self._stack)
        self._stack = []

    def close(self) -> list[Any]:
        """End a group and give it."""
        if not self._outer:
            raise Refused("closes what was never opened")
        items, self._stack = self._stack, self._outer.pop()
        return items

    def push_tuple(self, count: int) -> None:
        """Push the values on top as one."""
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def extend(self, items: list[Any]) -> None:
        """Append to the list (or set) on top."""
        if not self._stack or not isinstance(self._stack[-1], list):
            raise Refused("appends to something that is no list")
        self._stack[-1].extend(items)

    def fill(self, items: list[Any]) -> None:
        """Put keys with their values into the mapping on top; keys must be cheap to hash and to compare."""
        if not self._stack or not isinstance(self._stack[-1], dict) or len(items) % 2:
            raise Refused("sets items of something that is no mapping")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < MOST_KEY):
                raise Refused(f"has a key of the type {type(key).__name__}; allowed are short texts and small numbers")
            self._stack[-1][key] = value

    def keep(self, index: int | None) -> None:
        """Remember the value on top; under the next free number where none is given."""
        if not self._stack:
            raise Refused("keeps a value where none is left")
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def recall(self, index: int) -> None:
        """Push a value that was kept."""
        if index not in self._memo:
            raise Refused(f"recalls value {index}, which was never kept")
        self.push(self._memo[index])

    def name_by_lines(self) -> None:
        """Push what stands for a name that is written as two lines."""
        module = self._line()
        self._look_up(module, self._line())

    def name_by_texts(self) -> None:
        """Push what stands for a name that is given by the two texts on top."""
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Refused("names something by what is no short text")
        self._look_up(module, name)

    def _look_up(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if full not in self.rules.makers:
            raise Refused(f"asks for {full!r:.100}, which no generator needs; nothing of it was run")
        self.push(Name(full, self.rules.makers[full]))

    def make(self) -> None:
        """Do our own instead of calling what the file names with the arguments on top."""
        arguments, called = self.pop(), self.pop()
        if not isinstance(called, Name) or not isinstance(arguments, tuple):
            raise Refused("calls something that has no name")
        self.push(called.make(arguments))

    def build(self) -> None:
        """Give an object the state on top; attributes that a file sets on a mapping are of no use and left out."""
        state, target = self.pop(), self.pop()
        if hasattr(type(target), "absorb"):
            target.absorb(state)
        elif not isinstance(target, dict):
            raise Refused("sets the state of something that has none")
        self.push(target)

    def persistent(self) -> None:
        """Push what stands for an id of something outside the pickle."""
        if self.rules.persistent is None:
            raise Refused("refers to something outside of it")
        self.push(self.rules.persistent(self.pop()))
