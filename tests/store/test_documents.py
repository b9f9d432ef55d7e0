"""Small JSON files: read whole, or refused in one short line."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.core.errors import FormatError
from trimtab.store.documents import MAX_DEPTH, read_object

BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is no JSON"),
    "no JSON": (b"{a: 1}", "is no JSON"),
    "bad UTF-8": (b"\xff\xfe", "is no JSON"),
    "a number of 5,000 digits": (b'{"a": ' + b"9" * 5000 + b"}", "is no JSON"),
    "a number that no float can hold": (b'{"a": -' + b"9" * 310 + b"}", "a number has 310 digits"),
    "a list": (b"[1]", "is no JSON object"),
    "text": (b'"' + b"x" * 500 + b'"', "is no JSON object"),
    "too large": (b'{"a": "' + b"x" * 2000 + b'"}', "1000 are the most"),
    "one level too deep": (b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "levels deep"),
    "120 levels": (b'{"a": ' * 120 + b"1" + b"}" * 120, "levels deep"),
    "900 lists left open": (b"[" * 900, "is no JSON"),
}


@pytest.mark.parametrize("case", BAD)
def test_anything_but_an_object_is_refused_in_a_line_with_what_to_do(tmp_path: Path, case: str) -> None:
    content, said = BAD[case]
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="Do this") as refused:
        read_object(path, most_bytes=6000 if "digits" in case else 1000, remedy="Do this.")
    message = str(refused.value)
    assert said in message
    assert len(message) < len(str(path)) + 200


@pytest.mark.parametrize("depth", [990, 5000, 100_000])
def test_no_depth_ends_in_anything_but_the_refusal(tmp_path: Path, depth: int) -> None:
    (tmp_path / "x.json").write_text('{"a":' * depth + "1" + "}" * depth)
    with pytest.raises(FormatError, match=r"levels deep|is no JSON"):
        read_object(tmp_path / "x.json", most_bytes=1 << 20)


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        read_object(tmp_path, most_bytes=1 << 20)


def test_an_object_comes_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": [1, {"b": null}], "c": "é"}', encoding="utf-8")
    assert read_object(tmp_path / "x.json", most_bytes=100) == {"a": [1, {"b": None}], "c": "é"}


def test_an_object_as_deep_as_allowed_is_read(tmp_path: Path) -> None:
    lists = MAX_DEPTH - 1
    (tmp_path / "x.json").write_text('{"a": ' + "[" * lists + "]" * lists + "}")
    assert list(read_object(tmp_path / "x.json", most_bytes=1000)) == ["a"]
