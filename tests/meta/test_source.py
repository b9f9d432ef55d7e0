"""What the source must never do, read from its syntax trees."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "trimtab"
FILES = sorted(PACKAGE.rglob("*.py"))
Node = TypeVar("Node", bound=ast.AST)

FORBIDDEN_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
ENVIRONMENT = {("os", "environ"), ("os", "getenv")}
STREAMS = {("sys", "stdout"), ("sys", "stderr")}
FORBIDDEN_ATTRIBUTES = {("torch", "load"), ("torch", "save"), ("os", "system"), ("os", "popen"), ("numpy", "load")}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
MOST_LINES = 400
NF4_LEVEL = 0.6961928009986877


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def nodes(*kinds: type[Node], outside: str = "") -> Iterator[tuple[str, Node]]:
    """Go through the nodes of some kinds in every file, each with its place."""
    for path in FILES:
        name = str(path.relative_to(PACKAGE))
        if outside and name.startswith(outside):
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, kinds):
                yield f"{name}:{getattr(node, 'lineno', 0)}", node


def pair(node: ast.AST) -> tuple[str, str] | None:
    """Give ``a.b`` as a pair."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.value.id, node.attr
    return None


def name_of(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def imports(*, outside: str = "") -> Iterator[tuple[str, str]]:
    """Go through everything imported, each with its place."""
    for place, plain in nodes(ast.Import, outside=outside):
        yield from ((place, alias.name) for alias in plain.names)
    for place, chosen in nodes(ast.ImportFrom, outside=outside):
        yield from ((place, f"{chosen.module}.{alias.name}") for alias in chosen.names)


def public() -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    for path in FILES:
        for node in _public(tree(path)):
            yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node


def _public(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from _public(child)


def test_the_source_is_found() -> None:
    assert len(FILES) > 80


def test_nothing_imports_what_runs_code_on_loading() -> None:
    assert not [place for place, name in imports() if name.split(".")[0] in FORBIDDEN_MODULES]


def test_nothing_evaluates_text() -> None:
    assert not [place for place, call in nodes(ast.Call) if name_of(call.func) in FORBIDDEN_CALLS]


def test_nothing_loads_or_saves_pickles_or_calls_a_shell() -> None:
    assert not [place for place, call in nodes(ast.Call) if pair(call.func) in FORBIDDEN_ATTRIBUTES]


@pytest.mark.parametrize("keyword", ["trust_remote_code", "shell"])
def test_neither_remote_code_nor_a_shell_is_ever_let_in(keyword: str) -> None:
    given = [(place, word.value) for place, word in nodes(ast.keyword) if word.arg == keyword]
    assert not [place for place, value in given if not (isinstance(value, ast.Constant) and value.value is False)]


def test_only_core_device_reads_the_environment() -> None:
    reads = [place for place, node in nodes(ast.Attribute, outside="core/device.py") if pair(node) in ENVIRONMENT]
    names = {".".join(words) for words in ENVIRONMENT}
    assert not reads + [place for place, name in imports(outside="core/device.py") if name in names]


def test_only_the_command_line_prints() -> None:
    printed = [place for place, call in nodes(ast.Call, outside="cli/") if name_of(call.func) == "print"]
    assert not printed + [place for place, node in nodes(ast.Attribute, outside="cli/") if pair(node) in STREAMS]


def test_every_except_names_what_it_catches() -> None:
    assert not [place for place, handler in nodes(ast.ExceptHandler) if handler.type is None]


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [path for path in FILES if {*path.relative_to(PACKAGE).parts[:-1], path.stem.strip("_")} & VAGUE_NAMES]


def test_no_file_is_longer_than_a_person_reads() -> None:
    assert not [path for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES]


def test_every_module_says_what_it_is_for() -> None:
    assert not [path for path in FILES if not ast.get_docstring(tree(path))]


def test_every_public_function_and_class_has_a_docstring() -> None:
    assert not [place for place, node in public() if not ast.get_docstring(node)]


def test_the_levels_of_nf4_stand_once() -> None:
    constants = [
        path
        for path in [*FILES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and node.value == NF4_LEVEL and path != Path(__file__)
    ]
    assert constants == [PACKAGE / "quant" / "codebooks.py"]


def test_no_compiled_code_repeats_the_levels_of_nf4() -> None:
    digits = str(NF4_LEVEL)[:9]
    assert not [path for path in (ROOT / "csrc").iterdir() if path.is_file() and digits in path.read_text()]


def test_every_module_of_the_kernels_but_their_door_is_protected() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (one for one in contracts if one["type"] == "protected")
    private = {f"trimtab.kernels.{path.stem}" for path in (PACKAGE / "kernels").glob("[!_]*.py")}
    assert set(contract["protected_modules"]) == private | {"trimtab.kernels._library"}
