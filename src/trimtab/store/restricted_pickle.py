"""Reading pickles whose every name is answered by this project: the operations that are read, and the plain names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from trimtab.store.pickle_machine import Budget, Maker, PickleMachine, Refused, Rules, Shell

STOP: Final = ord(".")
OPERATIONS: Final[Mapping[int, Callable[[PickleMachine], object]]] = MappingProxyType(
    {
        0x80: PickleMachine.protocol,
        0x95: PickleMachine.frame,
        ord("N"): lambda machine: machine.push(None),
        0x88: lambda machine: machine.push(True),
        0x89: lambda machine: machine.push(False),
        ord("K"): lambda machine: machine.push(machine.number(1)),
        ord("M"): lambda machine: machine.push(machine.number(2)),
        ord("J"): lambda machine: machine.push(machine.number(4, signed=True)),
        0x8A: PickleMachine.push_long,
        ord("G"): PickleMachine.push_float,
        ord("C"): lambda machine: machine.push_bytes(1),
        ord("B"): lambda machine: machine.push_bytes(4),
        0x8E: lambda machine: machine.push_bytes(8),
        0x8C: lambda machine: machine.push_text(1),
        ord("X"): lambda machine: machine.push_text(4),
        0x8D: lambda machine: machine.push_text(8),
        ord("("): PickleMachine.open,
        ord(")"): lambda machine: machine.push(()),
        ord("t"): lambda machine: machine.push(tuple(machine.close())),
        0x85: lambda machine: machine.push_tuple(1),
        0x86: lambda machine: machine.push_tuple(2),
        0x87: lambda machine: machine.push_tuple(3),
        ord("]"): lambda machine: machine.push([]),
        0x8F: lambda machine: machine.push([]),  # a set
        ord("a"): lambda machine: machine.extend([machine.pop()]),
        ord("e"): lambda machine: machine.extend(machine.close()),
        0x90: lambda machine: machine.extend(machine.close()),
        ord("}"): lambda machine: machine.push({}),
        ord("s"): lambda machine: machine.fill([machine.pop(), machine.pop()][::-1]),
        ord("u"): lambda machine: machine.fill(machine.close()),
        0x94: lambda machine: machine.keep(None),
        ord("q"): lambda machine: machine.keep(machine.number(1)),
        ord("r"): lambda machine: machine.keep(machine.number(4)),
        ord("h"): lambda machine: machine.recall(machine.number(1)),
        ord("j"): lambda machine: machine.recall(machine.number(4)),
        ord("c"): PickleMachine.name_by_lines,
        0x93: PickleMachine.name_by_texts,
        ord("R"): PickleMachine.make,
        0x81: PickleMachine.make,
        ord("b"): PickleMachine.build,
        ord("Q"): PickleMachine.persistent,
    }
)
"""What is done at each byte that stands for an operation; files written with protocol 2 or newer need no others."""


def read_pickle(data: memoryview, rules: Rules, budget: Budget, *, start: int = 0) -> tuple[Any, int]:
    """Read one pickle.

    Returns:
        What it holds, and the position behind it.

    Raises:
        Refused: it is damaged, names what is not allowed, or is too large; with the position.
    """
    machine = PickleMachine(data, rules, budget, start=start)
    began = start
    try:
        while True:
            began = machine.position
            budget.spend_operation()
            code = machine.number(1)
            if code == STOP:
                return machine.result(), machine.position
            if code not in OPERATIONS:
                raise Refused(f"holds the pickle operation 0x{code:02x}, which no generator needs")
            OPERATIONS[code](machine)
    except Refused as refusal:
        if refusal.offset is None:
            refusal.offset = began
        raise


def arguments_of(name: str, arguments: tuple[Any, ...], *kinds: type) -> tuple[Any, ...]:
    """Check the first arguments of a call that a file asks for.

    Raises:
        Refused: there are fewer, or one is of another kind.
    """
    if len(arguments) < len(kinds) or not all(map(isinstance, arguments, kinds)):
        expected = ", ".join(kind.__name__ for kind in kinds)
        found = ", ".join(type(argument).__name__ for argument in arguments[:8])
        raise Refused(f"gives {name} ({found}); expected is ({expected})")
    return arguments[: len(kinds)]


def empty_mapping(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """Stand for any kind of mapping, which files make empty and fill afterwards."""
    if arguments not in ((), ([],)):
        raise Refused("makes a mapping of something")
    return {}


def list_of_set(arguments: tuple[Any, ...]) -> list[Any]:
    """Stand for a set."""
    return arguments_of("set", arguments, list)[0] if arguments else []  # type: ignore[no-any-return]


def shell_of(name: str) -> Maker:
    """Give what stands for a class that is not here."""
    return lambda _: Shell(name)


PLAIN_MAKERS: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "collections.OrderedDict": empty_mapping,
        "builtins.set": list_of_set,
        "__builtin__.set": list_of_set,
        "argparse.Namespace": shell_of("argparse.Namespace"),
    }
)
"""Names of Python itself that files of networks hold."""
