"""What the pages say exists, parses and runs."""

from __future__ import annotations

import re
import runpy
import shlex
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import tiny
from trimtab.cli.drag import read_changes
from trimtab.cli.main import CLICK_ERROR, app
from trimtab.train.settings import RECIPES, read_settings

ROOT = Path(__file__).parents[2]
README_LINES = 150
LOOSE_PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md", "examples/data/README.md"]
PAGES = [ROOT / name for name in LOOSE_PAGES] + sorted((ROOT / "docs").rglob("*.md"))
ROOMS = "src|docs|bench|examples|tests|csrc"
FENCED = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
INLINE = re.compile(r"`([^`\n]+)`")
INDENTED = re.compile(r"^ {4}(\S.*?)(?:\s+#.*)?$", re.MULTILINE)


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def cases(pattern: re.Pattern[str], begins: str) -> list[Any]:
    """Give every piece of code on the pages that begins with a word, with its page as the name."""
    found = {(name(page), code) for page in PAGES for code in pattern.findall(text(page)) if code.startswith(begins)}
    return [pytest.param(code, id=f"{where}: {code}") for where, code in sorted(found)]


def links() -> list[Any]:
    found = {(page, link) for page in PAGES for link in LINK.findall(text(page)) if "://" not in link}
    return [pytest.param(page, link, id=f"{name(page)}: {link}") for page, link in sorted(found)]


def paths() -> list[str]:
    words = {word for page in PAGES for code in INLINE.findall(text(page)) for word in code.split()}
    words |= {word for page in PAGES for code in INDENTED.findall(text(page)) for word in code.split()}
    return sorted(word for word in words if re.fullmatch(rf"(?:{ROOMS})/[\w./*-]+", word))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def parse(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Read a command line as the program does, without running it; give the command's name and parameters."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("trimtab", words)
    while hasattr(command, "resolve_command"):
        _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(command.name, words, parent=context)
    return command.name, context.params


def test_the_readme_is_short():
    assert len(text(ROOT / "README.md").splitlines()) <= README_LINES


@pytest.mark.parametrize(("page", "link"), links())
def test_a_link_leads_somewhere(page, link):
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists()
    assert not anchor or anchor in anchors(target)


@pytest.mark.parametrize("path", paths())
def test_a_path_that_is_named_exists(path):
    assert list(ROOT.glob(path)) if "*" in path else (ROOT / path).exists()


@pytest.mark.parametrize("line", cases(INDENTED, "trimtab "))
def test_a_command_parses(line):
    command, params = parse(shlex.split(line)[1:])
    words = params.get("settings") or []
    if command == "drag":
        read_changes(words)
    elif words:
        read_settings(words=words)
    assert command


@pytest.mark.parametrize("line", cases(INLINE, "trimtab "))
def test_a_command_named_in_a_sentence_is_one(line):
    words = shlex.split(line)[1:]
    with pytest.raises(typer.Exit) if "--help" in words or len(words) == 1 else nullcontext():
        assert parse(words if len(words) > 1 else [*words, "--help"])


def test_a_command_that_is_none_would_be_found():
    with pytest.raises(CLICK_ERROR, match="No such command"):
        parse(["trane", "smollm2"])


@pytest.mark.parametrize("line", cases(INLINE, "--set "))
def test_a_setting_named_in_a_sentence_is_one(line):
    word = shlex.split(line)[1]
    assert read_settings(words=[f"{word}0" if word.endswith("=") else word])


@pytest.mark.parametrize("line", cases(INLINE, "--recipe "))
def test_a_recipe_named_in_a_sentence_is_one(line):
    assert shlex.split(line)[1] in RECIPES


@pytest.mark.parametrize("line", [*cases(INLINE, "make "), *cases(INDENTED, "make ")])
def test_a_target_of_make_is_one(line):
    assert re.search(rf"^{line.split()[1]}:", text(ROOT / "Makefile"), re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if FENCED.search(text(page))], ids=name)
def test_the_python_on_a_page_runs(page, tmp_path, monkeypatch):
    model = tiny.llama_folder(tmp_path / "model")
    code = "\n".join(FENCED.findall(text(page))).replace('"smollm2"', repr(str(model)))
    (tmp_path / "page.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert "trimtab" in runpy.run_path("page.py")


@pytest.mark.parametrize("script", sorted((ROOT / "bench").glob("[a-z]*.py")), ids=lambda path: path.name)
def test_every_benchmark_is_on_both_pages(script):
    assert f"`{script.name}`" in text(ROOT / "bench" / "README.md")
    assert f"bench/{script.name}" in text(ROOT / "docs" / "benchmarks.md")
