"""Hostile files of generators: nothing in them is ever run, which a process that watches itself proves."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hostile.attack import refused
from hostile.pickles import CALLS, GOOD, GOOD_OLD_PT, GOOD_PT, GOOD_TENSORFLOW, HOSTILE, call, old_archive
from hostile.test_fuzz import damaged
from trimtab.core.errors import FormatError
from trimtab.models.stylegan.found import FoundGenerator
from trimtab.models.stylegan.importing import find_generator
from trimtab.store.torch_archive import MOST_FILE_BYTES, read_file

MUTATIONS = 500  # of each of the four kinds of files


def read(path: Path) -> FoundGenerator:
    return find_generator(path, read_file(path))


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_soon_and_in_little_memory(tmp_path, case):
    path = tmp_path / "generator.pkl"
    path.write_bytes(HOSTILE[case])
    assert isinstance(refused(lambda: read(path), path), FormatError)


@pytest.mark.parametrize("good", [GOOD, GOOD_PT, GOOD_OLD_PT, GOOD_TENSORFLOW], ids=["pkl", "pt", "old pt", "tf"])
def test_the_files_that_the_cases_twist_are_good_themselves(tmp_path, good):
    path = tmp_path / "generator.pkl"
    path.write_bytes(good)
    assert "synthesis.b4.const" in read(path).tensors


def test_a_file_over_the_cap_is_not_opened(tmp_path):
    path = tmp_path / "generator.pkl"
    with path.open("wb") as file:
        file.truncate(MOST_FILE_BYTES + 1)
    assert "the most" in str(refused(lambda: read(path), path))


WATCH = """
import encodings.cp437, json, sys  # in which archives hold the names of old
from pathlib import Path
from trimtab.core.errors import FormatError
from trimtab.models.stylegan.importing import find_generator
from trimtab.store.torch_archive import read_file

FORBIDDEN = ("exec", "compile", "import", "os.", "subprocess.", "socket.", "pickle.", "marshal.", "ctypes.", "code.",
             "shutil.", "builtins.", "object.__setattr__", "pty.", "urllib.", "sys._getframe", "tempfile.")
seen, watching = [], False

def hook(event, arguments):
    if not watching:
        return
    writes = event == "open" and (arguments[1] not in ("r", "rb", None) or arguments[2] & 3)
    if writes or event.startswith(FORBIDDEN):
        seen.append(f"{event} {arguments!r:.200}")

def outcome(path):
    try:
        find_generator(path, read_file(path))
        return "accepted"
    except FormatError:
        return "refused"

folder = Path(sys.argv[1])
outcome(folder / "good")
outcome(folder / "good.pt")
sys.addaudithook(hook)
results = {}
for path in sorted(folder.iterdir()):
    watching = True
    result = outcome(path)
    watching = False
    results[path.name] = [result, list(seen)]
    seen.clear()
if len(sys.argv) > 2:  # what the interpreter's own reader would do with the same bytes
    import pickle
    watching = True
    pickle.loads((folder / sys.argv[2]).read_bytes())
    watching = False
    results["own reader"] = ["ran", list(seen)]
print(json.dumps(results))
"""


def watched(folder: Path, *more: str) -> dict[str, tuple[str, list[str]]]:
    """Read every file of a folder in a process that notes whatever runs, opens, starts or connects in it."""
    command = [sys.executable, "-W", "ignore", "-c", WATCH, str(folder), *more]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent, check=True, timeout=300)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def watch(tmp_path_factory) -> tuple[Path, dict[str, tuple[str, list[str]]]]:
    folder = tmp_path_factory.mktemp("watched") / "files"
    folder.mkdir()
    (folder / "good").write_bytes(GOOD)
    (folder / "good.pt").write_bytes(GOOD_PT)
    for number, content in enumerate(HOSTILE.values()):
        (folder / f"{number}").write_bytes(content)
    return folder.parent, watched(folder, str(list(HOSTILE).index("os.system")))


def test_at_least_forty_hostile_files_are_tried():
    assert len(HOSTILE) > 100
    assert len(CALLS) > 40


def test_nothing_in_any_hostile_file_runs(watch):
    _, results = watch
    ran = {case: results[str(number)][1] for number, case in enumerate(HOSTILE) if results[str(number)][1]}
    assert not ran
    assert all(results[str(number)][0] == "refused" for number in range(len(HOSTILE)))


def test_nothing_in_an_honest_file_runs_either_though_it_carries_source_code(watch):
    _, results = watch
    assert results["good"] == ["accepted", []]
    assert b"raise SystemExit" in GOOD


def test_the_watch_sees_what_the_interpreters_own_reader_runs(watch):
    folder, results = watch
    assert any(event.startswith("os.system") for event in results["own reader"][1])
    assert (folder / "executed").exists()  # by the interpreter's own reader, which ran last


def test_the_real_function_of_this_name_would_run_what_the_bytes_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.storage._load_from_bytes(old_archive(place=3, payload=call("os", "system")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("good", [GOOD, GOOD_PT, GOOD_OLD_PT, GOOD_TENSORFLOW], ids=["pkl", "pt", "old pt", "tf"])
def test_a_damaged_file_gives_a_generator_or_our_own_error(tmp_path, good):
    path, accepted = tmp_path / "generator.pkl", 0
    for seed in range(MUTATIONS):
        chance = random.Random(seed)
        path.write_bytes(damaged(good, chance, chance.choice((200, 2000, len(good)))))
        try:
            read(path)
            accepted += 1
        except FormatError:
            continue
    assert accepted < MUTATIONS // 2


REASONS = {
    "os.system by STACK_GLOBAL": "asks for 'os.system'",
    "a call in the bytes of a storage": "in the bytes of a storage it asks for 'os.system'",
    "a call in the fourth pickle of a storage": "in the bytes of a storage it asks for 'os.system'",
    "bytes of a storage in bytes of a storage": "asks for 'torch.storage._load_from_bytes'",
    "a call in an archive": "in data.pkl it asks for 'os.system'",
    "an array of objects": "elements of the type 'O8'",
    "a network in itself": "nested deeper",
    "a mapping with a doubling key": "a key of the type tuple",
    "3,000,000 sets": "operations to build",
    "20 MB of short texts": "bytes of short texts",
    "a tensor that repeats its storage": "larger than its storage",
    "a tensor of another shape": "expected is torch.float32",
    "tensors that share one storage": "larger than the file itself",
    "an archive with 100 MB in 100 KB": "packed member",
    "an archive with a storage cut short": "holds 1 bytes for 16 numbers",
}


@pytest.mark.parametrize("case", REASONS)
def test_a_hostile_file_is_refused_for_what_is_wrong_with_it(tmp_path, case):
    path = tmp_path / "generator.pkl"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(FormatError, match=re.escape(REASONS[case])):
        read(path)
