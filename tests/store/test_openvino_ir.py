"""Constants of an OpenVINO IR: found by name and shape, never beyond the file, and no entity is ever expanded."""

from __future__ import annotations

import struct

import pytest

from trimtab.core.errors import FormatError
from trimtab.store.openvino_ir import IrFile

GOOD = """<?xml version="1.0"?><net name="n" version="10"><layers>
<layer id="0" name="in" type="Parameter"><data shape="1,4" element_type="f32"/></layer>
<layer id="1" name="a" type="Const"><data element_type="f32" shape="2, 3" offset="4" size="24"/></layer>
<layer id="2" name="b" type="Const"><data element_type="f32" shape="" offset="0" size="4"/></layer>
<layer id="3" name="i" type="Const"><data element_type="i64" shape="1" offset="0" size="8"/></layer>
</layers></net>"""
RAW = struct.pack("<7f", *range(7))


@pytest.fixture
def ir(tmp_path):
    def write(xml: str | bytes = GOOD, raw: bytes = RAW) -> IrFile:
        (tmp_path / "n.xml").write_bytes(xml if isinstance(xml, bytes) else xml.encode())
        (tmp_path / "n.bin").write_bytes(raw)
        return IrFile(tmp_path / "n.xml", tmp_path / "n.bin")

    return write


def test_a_constant_is_read_by_its_name(ir):
    assert ir().load("a").tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_scalar_has_no_shape(ir):
    assert ir().load("b").shape == ()


def test_constants_of_a_shape_are_found_in_order(ir):
    graph = ir(GOOD.replace('name="b"', 'name="c"').replace('shape=""', 'shape="1"'))
    assert [constant.name for constant in graph.of_shape(2, 3)] == ["a"]
    assert [constant.name for constant in graph.of_shape(1)] == ["c"]  # not the integer


def test_layers_that_are_no_constants_are_not_listed(ir):
    assert [constant.name for constant in ir().constants] == ["a", "b", "i"]


REFUSED_NAMES = {"absent": "x", "an integer": "i", "there twice": "a"}


@pytest.mark.parametrize("case", REFUSED_NAMES)
def test_a_constant_that_cannot_be_given_is_refused(ir, case):
    xml = GOOD.replace('name="b"', 'name="a"') if case == "there twice" else GOOD
    with pytest.raises(FormatError, match=r"n\.xml"):
        ir(xml).load(REFUSED_NAMES[case])


ENTITIES = '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
HOSTILE = {
    "no XML": "not xml",
    "empty": "",
    "cut short": GOOD[:200],
    "entities": GOOD.replace("<net ", ENTITIES + "<net ").replace('name="a"', 'name="&b;"'),
    "entities in UTF-16": GOOD.replace("<net ", ENTITIES + "<net ").encode("utf-16"),
    "an external document type": GOOD.replace("<net ", '<!DOCTYPE net SYSTEM "file:///etc/passwd"><net '),
    "an unknown entity": GOOD.replace('name="a"', 'name="&who;"'),
    "beyond the file": GOOD.replace('offset="4"', 'offset="8"'),
    "far beyond the file": GOOD.replace('offset="4"', 'offset="999999999999999"'),
    "a negative offset": GOOD.replace('offset="4"', 'offset="-4"'),
    "digits of another script": GOOD.replace('offset="4"', 'offset="\u0664"'),
    "a number of a thousand digits": GOOD.replace('size="24"', f'size="{"9" * 1000}"'),
    "a negative side": GOOD.replace('shape="2, 3"', 'shape="-2, -3"'),
    "nine sides": GOOD.replace('shape="2, 3"', 'shape="1,1,1,1,1,1,1,2,3"'),
    "no offset": GOOD.replace('offset="4"', ""),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_description_is_refused(ir, case):
    with pytest.raises(FormatError, match=r"n\.xml"):
        ir(HOSTILE[case])


def test_a_description_that_is_too_large_is_not_parsed(ir):
    with pytest.raises(FormatError, match="are the most"):
        ir(GOOD + " " * (16 << 20))


def test_a_shape_that_does_not_fit_its_bytes_is_refused(ir):
    with pytest.raises(FormatError, match=r"\(3, 3\) has 24 bytes"):
        ir(GOOD.replace("2, 3", "3, 3")).load("a")


def test_a_hundred_thousand_nested_elements_are_walked_through(ir):
    deep = "<x>" * 100_000 + "</x>" * 100_000
    assert ir(GOOD.replace("<layers>", f"{deep}<layers>")).load("b") == 0


def test_a_file_that_became_shorter_is_refused(ir, tmp_path):
    graph = ir()
    (tmp_path / "n.bin").write_bytes(RAW[:20])
    with pytest.raises(FormatError, match=r"n\.bin.*shorter"):
        graph.load("a")
