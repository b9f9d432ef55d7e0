"""The page's files: the right types, no stale copies, nothing but what ships."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from trimtab.serve import page

FOLDER = Path(str(files("trimtab.serve").joinpath("page")))
SHIPPED = sorted(path for path in FOLDER.rglob("*") if path.is_file())
MOST_LINES = 250
OUTWARD = re.compile(
    r"""https?://|["'(]//|\b(?:eval|Function)\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write"""
)
ALLOWED = ("http://www.w3.org/2000/svg",)


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(Starlette(routes=page.routes()))


def address(path: Path) -> str:
    return page.PREFIX + path.relative_to(FOLDER).as_posix()


@pytest.mark.parametrize("path", SHIPPED, ids=address)
def test_each_file_is_served_as_what_it_is(client, path):
    answer = client.get(address(path))
    assert answer.content == path.read_bytes()
    assert answer.headers["content-type"] == page.TYPES[path.suffix.removeprefix(".")]


def test_the_front_door_is_the_index(client):
    assert client.get("/").content == (FOLDER / "index.html").read_bytes()


def test_a_browser_that_has_a_file_is_not_sent_it_again(client):
    tag = client.get("/page/app.js").headers["etag"]
    again = client.get("/page/app.js", headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content) == (304, b"")


def test_a_browser_that_has_another_version_is_sent_the_file(client):
    assert client.get("/page/app.js", headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_browser_asks_each_time_whether_a_file_is_new(client):
    assert client.get("/page/app.js").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page",
        "/page/../page.py",
        "/page/%2e%2e/page.py",
        "/page/..%2fpage.py",
        "/page/%2e%2e%2f%2e%2e%2f__init__.py",
        "/page//etc/passwd",
        "/page/views/../../page.py",
        "/page/app.js%00.css",
        "/page/APP.JS",
        "/page/views",
        "/page/..\\page.py",
        "/index.html",
    ],
)
def test_nothing_else_is_served(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_files_are_only_read(client, method):
    assert client.request(method, "/page/app.js").status_code == 405


def test_what_needs_no_token_is_exactly_what_ships():
    assert page.public_paths() == {"/", *map(address, SHIPPED)}


def test_every_kind_of_file_that_ships_is_in_the_package():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["trimtab"]
    assert {f"**/*{path.suffix}" for path in SHIPPED} <= set(patterns)


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.suffix in (".js", ".html", ".css")], ids=address)
def test_no_file_reaches_outside_or_makes_markup_of_text(path):
    found = OUTWARD.findall(re.sub("|".join(map(re.escape, ALLOWED)), "", path.read_text(encoding="utf-8")))
    assert not found


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.suffix == ".js"], ids=address)
def test_every_import_leads_to_a_file_that_ships(path):
    for name in re.findall(r"""from "(.+?)";""", path.read_text(encoding="utf-8")):
        assert (path.parent / name).resolve() in SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=address)
def test_no_file_is_longer_than_a_person_reads(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_markup_carries_neither_scripts_nor_styles_of_its_own():
    text = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)
