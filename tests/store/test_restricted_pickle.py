"""The machine that reads pickles: plain values exactly, names only from the table, bytes as views."""

from __future__ import annotations

import argparse
import pickle
import sys
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from trimtab.store.pickle_machine import (
    LONG_TEXT_BYTES,
    MOST_OPERATIONS,
    MOST_TEXT_BYTES,
    Budget,
    Refused,
    Rules,
    Shell,
    Text,
)
from trimtab.store.pickled_tensors import ARRAY_MAKERS
from trimtab.store.restricted_pickle import PLAIN_MAKERS, read_pickle

PROTOCOLS = [2, 3, 4, 5]
RULES = Rules({**PLAIN_MAKERS, **ARRAY_MAKERS})
PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    255,
    65_535,
    -1,
    -(2**31),
    2**40,
    -(2**100),
    0.0,
    -1.5e300,
    "",
    "text",
    "\U0001f600",
    (),
    (1,),
    (1, 2),
    (1, 2, 3),
    tuple(range(9)),
    [],
    [1, [2, [3]]],
    list(range(3000)),
    {},
    {"a": 1, 2: "b"},
    {str(i): i for i in range(3000)},
    OrderedDict(a=1, b=OrderedDict()),
]


def read(value: Any, protocol: int = 4, rules: Rules = RULES) -> Any:
    raw = pickle.dumps(value, protocol)
    got, end = read_pickle(memoryview(raw), rules, Budget())
    assert end == len(raw)
    return got


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", PLAIN, ids=lambda value: f"{value!r:.20}")
def test_a_plain_value_is_read_as_it_was_written(value, protocol):
    got = read(value, protocol)
    assert got == value
    assert type(got) is (dict if isinstance(value, dict) else type(value))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_value_that_stands_twice_is_read_once(protocol):
    first, second = read([inner := [1], inner], protocol)
    assert first is second


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_set_becomes_a_list(protocol):
    assert sorted(read({1, 2, 3}, protocol)) == [1, 2, 3]
    assert read(set(), protocol) == []


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("length", [0, 10, 300, 70_000])
def test_bytes_are_views_of_the_file(protocol, length):
    raw = pickle.dumps(bytes(range(256)) * (length // 256 + 1), protocol)
    got, _ = read_pickle(memoryview(raw), RULES, Budget())
    assert isinstance(got, memoryview)
    assert got.obj is raw
    assert bytes(got) == pickle.loads(raw)  # noqa: S301


def test_bytes_that_the_oldest_protocol_writes_as_text_are_bytes_again():
    content = bytes(range(256)) * 9000  # of two pieces
    assert bytes(read(content, 2)) == content


def test_a_long_text_is_left_where_it_stands():
    assert isinstance(read("x" * (LONG_TEXT_BYTES + 1)), Text)
    assert read("x" * LONG_TEXT_BYTES) == "x" * LONG_TEXT_BYTES


@pytest.mark.parametrize("value", [np.float32(1.5), np.float64(-2), np.int64(7), np.uint8(255), np.bool_(True)])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_number_of_numpy_becomes_a_plain_one(value, protocol):
    assert read(value, protocol) == value.item()


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", "<i8", ">i2", "|u1", "|i1", "|b1"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_an_array_is_read_without_a_copy_of_its_numbers(kind, protocol):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    for given in (array, np.asfortranarray(array), array[0, 0, 0:1].reshape(())):
        got = read(given, protocol).values()
        assert got.dtype == given.dtype
        assert np.array_equal(got, given)


def test_an_array_keeps_a_name_that_numpy_has_changed():
    raw = pickle.dumps(np.ones(3), 4)
    renamed = raw.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    assert renamed != raw
    frame = len(renamed) - 11
    got, _ = read_pickle(memoryview(renamed[:3] + frame.to_bytes(8, "little") + renamed[11:]), RULES, Budget())
    assert got.values().tolist() == [1, 1, 1]


def test_an_object_of_a_class_that_is_known_by_name_is_an_empty_shell():
    got = read(argparse.Namespace(size=256))
    assert isinstance(got, Shell)
    assert (got.name, got.state) == ("argparse.Namespace", {"size": 256})


def test_an_attribute_of_a_mapping_is_passed_over():
    given = OrderedDict(a=1)
    given._metadata = {"version": 1}  # type: ignore[attr-defined]
    assert read(given) == {"a": 1}


def test_a_name_that_is_not_in_the_table_is_refused_and_not_imported():
    sys.modules.pop("antigravity", None)
    for raw in (b"\x80\x02cantigravity\nfly\n.", b"\x80\x04\x8c\x0bantigravity\x8c\x03fly\x93."):
        with pytest.raises(Refused, match=r"'antigravity.fly'.*nothing of it was run"):
            read_pickle(memoryview(raw), RULES, Budget())
    assert "antigravity" not in sys.modules


def test_a_refusal_says_where_it_happened():
    raw = b"\x80\x02]q\x00(K\x01cos\nsystem\n."
    with pytest.raises(Refused, match=r"asks for 'os.system'") as told:
        read_pickle(memoryview(raw), RULES, Budget())
    assert told.value.offset == raw.index(b"cos")


def test_an_id_is_handed_to_who_reads_and_nowhere_else():
    raw = memoryview(b"\x80\x02K\x07Q.")
    assert read_pickle(raw, Rules({}, lambda id_: [id_]), Budget())[0] == [7]
    with pytest.raises(Refused, match="outside"):
        read_pickle(raw, Rules({}), Budget())


def test_a_budget_is_shared_by_what_is_read_with_it():
    budget = Budget(operations=7)
    raw = memoryview(pickle.dumps("N", 2))  # protocol, text, keep, end
    read_pickle(raw, RULES, budget)
    with pytest.raises(Refused, match=f"more than {MOST_OPERATIONS} operations"):
        read_pickle(raw, RULES, budget)


def test_texts_are_counted():
    budget = Budget(text_bytes=5)
    read_pickle(memoryview(pickle.dumps("abc", 4)), RULES, budget)
    with pytest.raises(Refused, match=f"more than {MOST_TEXT_BYTES} bytes"):
        read_pickle(memoryview(pickle.dumps("abc", 4)), RULES, budget)


def test_reading_starts_and_ends_where_it_is_told():
    raw = pickle.dumps(1, 2) + pickle.dumps("two", 2) + b"rest"
    first, middle = read_pickle(memoryview(raw), RULES, Budget())
    second, end = read_pickle(memoryview(raw), RULES, Budget(), start=middle)
    assert (first, second, raw[end:]) == (1, "two", b"rest")
