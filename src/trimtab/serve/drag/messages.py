"""What a browser may ask of a drag: over the socket, and to begin one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field

from trimtab.core.errors import did_you_mean
from trimtab.drag.edit import MOST_POINTS
from trimtab.models.stylegan.generator import MOST_SEED
from trimtab.serve.api_error import ApiError
from trimtab.serve.fields import Strict, read_fields
from trimtab.serve.strict_json import parse_object

MOST_TRUNCATION: Final = 2.0
MOST_STRENGTH: Final = 2.0
MOST_MOMENTS: Final = 10**9
MOST_NAME_CHARACTERS: Final = 512

Pull: TypeAlias = Annotated[list[float], Field(min_length=4, max_length=4)]
"""x and y of a handle, then of its target."""
Pulls: TypeAlias = Annotated[list[Pull], Field(min_length=1, max_length=MOST_POINTS)]


class Begin(Strict):
    """A picture to begin with."""

    generator: str = Field(max_length=MOST_NAME_CHARACTERS)
    seed: int = Field(0, ge=0, le=MOST_SEED)
    truncation: float = Field(0.7, ge=0, le=MOST_TRUNCATION)


class Thumbnail(Begin):
    """A small picture of a seed."""


class Place(Strict):
    """The square of a photo that becomes a generator's picture: centre and side in pixels, angle in degrees."""

    generator: str = Field(max_length=MOST_NAME_CHARACTERS)
    x: float
    y: float
    size: float = Field(gt=0)
    angle: float = Field(0.0, ge=-180, le=180)


class Start(Strict):
    """Drag; without points go on with the drag at hand."""

    do: Literal["start"]
    points: Pulls | None = None


class Step(Strict):
    """Take one step; without points of the drag at hand."""

    do: Literal["step"]
    points: Pulls | None = None


class Pause(Strict):
    """Stop after the step at work."""

    do: Literal["pause"]


class Undo(Strict):
    """Go back one step."""

    do: Literal["undo"]


class Redo(Strict):
    """Go forward one step that was undone."""

    do: Literal["redo"]


class GoTo(Strict):
    """Go to a moment: 0 is before the first edit."""

    do: Literal["go_to"]
    moment: int = Field(ge=0, le=MOST_MOMENTS)


class Strength(Strict):
    """How much of a photo's adapter is added."""

    do: Literal["strength"]
    value: float = Field(ge=0, le=MOST_STRENGTH)


class Ack(Strict):
    """A parcel has been shown; the next may come."""

    do: Literal["ack"]
    parcel: int = Field(ge=0, le=MOST_MOMENTS)


Said: TypeAlias = Start | Step | Pause | Undo | Redo | GoTo | Strength | Ack
KINDS: Final[Mapping[str, type[Said]]] = {
    "start": Start,
    "step": Step,
    "pause": Pause,
    "undo": Undo,
    "redo": Redo,
    "go_to": GoTo,
    "strength": Strength,
    "ack": Ack,
}


def read_said(text: str) -> Said:
    """Read a message of the socket.

    Raises:
        ApiError: 400, it is not allowed.
    """
    document: dict[str, Any] = parse_object(text.encode("utf-8", "surrogatepass"))
    word = document.get("do")
    if not isinstance(word, str) or word not in KINDS:
        raise ApiError(400, f"do = {word!r:.60}. {did_you_mean(str(word)[:60], KINDS)}", param="do")
    return read_fields(KINDS[word], document)
