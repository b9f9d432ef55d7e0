"""Recipes: what makes a session again, to the same bits, as a JSON document."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from trimtab.core.errors import FormatError, RangeError
from trimtab.drag.edit import Point
from trimtab.drag.settings import DragSettings, read_settings
from trimtab.store.documents import read_object
from trimtab.store.durable import write_bytes

RECIPE_NAME: Final = "recipe.json"
FORMAT: Final = 3
NAMELESS: Final = 1
"""A format whose latents lie in a file whose name says nothing of what is in it, and no hash is known of them."""
MIXED: Final = 2
"""A format that tells with which strengths of an adapter steps were taken, but not which steps."""
UNKNOWN: Final = -1.0
"""Strength of such steps, where there were several."""
MOST_BYTES: Final = 1 << 24
REMEDY: Final = "Write it anew with trimtab drag, or choose another --out."


@dataclass(frozen=True)
class PhotoStart:
    """A photo that was inverted, and with what adapter the generator makes it.

    Attributes:
        photo_sha256: of the photo's file.
        square: centre, side and angle of what was cut out of it.
        strength: of the adapter, as it was set last.
        adapter_sha256: of the adapter's file.
    """

    photo_sha256: str
    square: tuple[float, ...]
    strength: float
    adapter_sha256: str


@dataclass(frozen=True)
class Start:
    """The picture before any edit: of a seed, of a latent file, or of a photo.

    Attributes:
        seed: of the latent; None where a file is the start.
        truncation: 1 leaves a style, 0 gives the mean.
        latent_sha256: of the styles in the file; empty where a seed is the start.
        photo: what the styles are of, where that is a photo.
    """

    seed: int | None
    truncation: float = 1.0
    latent_sha256: str = ""
    photo: PhotoStart | None = None


@dataclass(frozen=True)
class EditRecipe:
    """One edit.

    Attributes:
        handles: where points were.
        targets: where each was to go.
        settings: how.
        mask_sha256: of the mask's pixels; empty where there is none.
        steps: how many were taken.
        strengths: of the photo's adapter, with how many steps in a row were taken with each; 1 where there is no photo.
        mask_file_sha256: of the file with the mask; empty where there is none, and in a recipe of ``NAMELESS``.
    """

    handles: tuple[Point, ...]
    targets: tuple[Point, ...]
    settings: DragSettings
    mask_sha256: str
    steps: int
    strengths: tuple[tuple[float, int], ...]
    mask_file_sha256: str = ""

    def __post_init__(self) -> None:
        """Refuse strengths that are not those of all steps.

        Raises:
            RangeError: they are of more or fewer.
        """
        if (told := sum(count for _, count in self.strengths)) != self.steps:
            raise RangeError(f"strengths are those of {told} steps, and {self.steps} were taken.")


@dataclass(frozen=True)
class Recipe:
    """A session without its numbers.

    Attributes:
        generator: what it is called.
        card_sha256: of the generator's card.
        start: the picture before any edit.
        edits: in order.
        place: take and frame where the session is; empty before the first edit.
        surroundings: what the bits depend on besides: threads, version of torch, device.
        latents_sha256: of the file with every step's numbers; empty in a recipe of ``NAMELESS``.
    """

    generator: str
    card_sha256: str
    start: Start
    edits: tuple[EditRecipe, ...]
    place: tuple[int, ...]
    surroundings: dict[str, str]
    latents_sha256: str = ""


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write a recipe into a folder.

    Raises:
        CheckpointError: the disk refused.
    """
    document = {"format": FORMAT, **_object(recipe), "start": _object(recipe.start)}
    if recipe.start.photo is not None:
        document["start"]["photo"] = _object(recipe.start.photo)
    document["edits"] = [{**_object(edit), "settings": edit.settings.to_json()} for edit in recipe.edits]
    write_bytes(folder / RECIPE_NAME, json.dumps(document, indent=1).encode())


def read_recipe(path: Path) -> Recipe:
    """Read a recipe strictly: every key is known and none is missing.

    Raises:
        FormatError: it is damaged or of another version.
    """
    document = read_object(path, most_bytes=MOST_BYTES, remedy=REMEDY)
    if (found := document.pop("format", None)) not in (NAMELESS, MIXED, FORMAT):
        raise FormatError(path, f"has the format {found!r:.40}; known are {NAMELESS} to {FORMAT}", remedy=REMEDY)
    try:
        start, edits = _dict(document.pop("start")), [_dict(edit) for edit in _list(document.pop("edits"))]
        if found == NAMELESS:
            document["latents_sha256"] = ""
            edits = [edit | {"mask_file_sha256": ""} for edit in edits]
        if found != FORMAT:
            strength = _only_strength(start)
            edits = [edit | {"strengths": [[strength, edit["steps"]]] if edit["steps"] else []} for edit in edits]
        return _read(Recipe, document, start=_read_start(start), edits=tuple(map(_read_edit, edits)))
    except (KeyError, TypeError, RangeError) as error:
        raise FormatError(path, f"is no recipe of a drag ({error!s:.200})", remedy=REMEDY) from error


Value = TypeVar("Value", PhotoStart, Start, EditRecipe, Recipe)


def _only_strength(start: dict[str, Any]) -> Any:
    """Give the strength that the photo's adapter had in all steps, as older formats have it, and take it from there."""
    if (photo := start.get("photo")) is None:
        return 1.0
    told = _list(_dict(photo).pop("found_with", [])) or [photo["strength"]]
    return told[0] if len(told) == 1 else UNKNOWN


def _read_start(document: dict[str, Any]) -> Start:
    photo = document.pop("photo", None)
    return _read(Start, document, photo=None if photo is None else _read(PhotoStart, _dict(photo)))


def _read_edit(document: dict[str, Any]) -> EditRecipe:
    settings = read_settings(_dict(document.pop("settings")))
    points = {name: tuple(_point(point) for point in _list(document.pop(name))) for name in ("handles", "targets")}
    strengths = tuple(_strength(pair) for pair in _list(document.pop("strengths")))
    return _read(EditRecipe, document, settings=settings, strengths=strengths, **points)


CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    "generator": lambda value: isinstance(value, str),
    "card_sha256": lambda value: isinstance(value, str),
    "latent_sha256": lambda value: isinstance(value, str),
    "latents_sha256": lambda value: isinstance(value, str),
    "mask_file_sha256": lambda value: isinstance(value, str),
    "mask_sha256": lambda value: isinstance(value, str),
    "photo_sha256": lambda value: isinstance(value, str),
    "adapter_sha256": lambda value: isinstance(value, str),
    "square": lambda value: isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)),
    "strength": lambda value: _is_number(value),
    "seed": lambda value: value is None or type(value) is int,
    "truncation": lambda value: _is_number(value),
    "steps": lambda value: type(value) is int and value >= 0,
    "place": lambda value: isinstance(value, list) and len(value) in (0, 2) and all(type(v) is int for v in value),
    "surroundings": lambda value: isinstance(value, dict) and all(isinstance(v, str) for v in value.values()),
}


def _read(kind: type[Value], document: dict[str, Any], **rest: Any) -> Value:
    for name, value in document.items():
        if name not in CHECKS or not CHECKS[name](value):
            raise TypeError(f"{name} is {value!r:.60}")
    if missing := {field.name for field in fields(kind)} - document.keys() - rest.keys():
        raise TypeError(f"{', '.join(sorted(missing))} is missing")
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in document.items()}
    return kind(**values, **rest)


def _point(value: Any) -> Point:
    if not (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))):
        raise TypeError(f"a point is {value!r:.60}")
    return float(value[0]), float(value[1])


def _strength(value: Any) -> tuple[float, int]:
    if not (isinstance(value, list) and len(value) == 2 and _is_number(value[0]) and type(value[1]) is int):
        raise TypeError(f"a strength with its steps is {value!r:.60}")
    strength, steps = value
    if steps < 1 or (strength < 0 and strength != UNKNOWN):
        raise TypeError(f"a strength with its steps is {value!r:.60}")
    return float(strength), steps


def _is_number(value: Any) -> bool:
    """Tell whether JSON gave a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"an object was expected, found is {value!r:.60}")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list was expected, found is {value!r:.60}")
    return value


def _object(record: Any) -> dict[str, Any]:
    return dict(vars(record))
