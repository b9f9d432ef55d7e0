"""Reading settings from a recipe, a TOML file and ``key=value`` words."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from trimtab.core.errors import MissingError, UsageError, did_you_mean
from trimtab.train.settings.allowed import check_choice, shortened, shown
from trimtab.train.settings.recipes import RECIPES
from trimtab.train.settings.record import TrainSettings

MAX_CONFIG_BYTES: Final = 1 << 20


def read_settings(
    *,
    config: Path | None = None,
    recipe: str | None = None,
    words: Iterable[str] = (),
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> TrainSettings:
    """Resolve settings: defaults, then a recipe, then a TOML file, then ``key=value`` words, then overrides.

    Raises:
        MissingError: no such recipe or file.
        UsageError: a key is unknown (near ones are named) or a value cannot be read.
        RangeError: a value is not allowed.
    """
    values: dict[str, Any] = {}
    if recipe is not None:
        if recipe not in RECIPES:
            raise MissingError(f"no recipe {recipe!r}. {did_you_mean(recipe, RECIPES)}")
        values |= RECIPES[recipe]
    if config is not None:
        values |= _checked(_read_toml(config), str(config))
    values |= _checked(dict(_split(word) for word in words), "--set")
    values |= _checked(dict(overrides), "options")
    return replace(TrainSettings(), **values)


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingError(f"{path} does not exist. --config takes a TOML file of settings.")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise UsageError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes: that is no file of settings.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # bad TOML, bad UTF-8 and numbers of thousands of digits
        raise UsageError(f"{path} is no TOML file: {shortened(str(error))}. Write lines like: lr = 2e-4") from error


def _split(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {shown(word)}: expected key=value, as in --set lr=2e-4.")
    return key.strip(), value.strip()


def _checked(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Read each value in the type of its field."""
    defaults = {f.name: getattr(TrainSettings(), f.name) for f in fields(TrainSettings)}
    checked = {}
    for key, value in values.items():
        if key not in defaults:
            raise UsageError(f"{source}: unknown setting {shown(key)}. {did_you_mean(key, defaults)}")
        checked[key] = _read_as(defaults[key], value, f"{source}: {key}")
        check_choice(key, checked[key])
    return checked


def _read_as(default: Any, value: Any, where: str) -> Any:
    """Turn a TOML value or a word into the type of ``default``."""
    if isinstance(default, tuple):
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise UsageError(f"{where} = {shown(value)}: expected names, as in q_proj,v_proj.")
        return tuple(item.strip() for item in items if item.strip())
    if isinstance(value, str) and not isinstance(default, str):
        value = _parse_word(default, value, where)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        wanted = type(default).__name__
        raise UsageError(f"{where} = {shown(value)}: expected {wanted}, found {type(value).__name__}.")
    return value


def _parse_word(default: Any, word: str, where: str) -> Any:
    if isinstance(default, bool):
        if word.lower() not in ("true", "false"):
            raise UsageError(f"{where} = {shown(word)}: expected true or false.")
        return word.lower() == "true"
    try:
        return type(default)(word)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise UsageError(f"{where} = {shown(word)}: expected {kind}.") from None
