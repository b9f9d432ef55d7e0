"""What can be set about a drag, and the four sets of settings that have names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, TypeAlias, get_args

from trimtab.core.errors import RangeError, did_you_mean
from trimtab.drag.limits import Limits, check_limits, kinds_of

Norm: TypeAlias = Literal["l1", "l2"]
Reduction: TypeAlias = Literal["mean", "sum"]
Styles: TypeAlias = Literal["w+", "w"]
Directions: TypeAlias = Literal["natural", "plain"]
Distance: TypeAlias = Literal["straight", "coordinate"]

MANY_POINTS: Final = 20
"""That describe what they are on: the outline and the features of a face, say."""
WORDS: Final[dict[str, tuple[str, ...]]] = {
    "norm": get_args(Norm),
    "loss": get_args(Reduction),
    "styles": get_args(Styles),
    "directions": get_args(Directions),
    "distance": get_args(Distance),
}


@dataclass(frozen=True)
class DragSettings:
    """How points are dragged. Lengths are in pixels of the picture; radii are half-widths.

    Published programs differ in whether a step tracks before it moves or after. The path is the same, since the first
    tracking finds every point where it was put; here a frame is a style together with the points found in it.

    Attributes:
        feature_size: size of the map whose features are moved and tracked.
        free_groups: groups of styles that may change, lowest first; the rest keep the start's values.
        styles: "w+" moves each group by itself, "w" all of them by the same vector.
        directions: "natural" steps along the directions in which the generator's own styles vary, and as far in each as
            they do; "plain" along the single numbers of a style, as published.
        lr: step size of Adam.
        radius_px: of the disc that is pulled.
        step_px: how far a disc is pulled in one step.
        shorten_step: pull no farther than to the target; else a point swings around it.
        search_px: how far around its last place a point is looked for.
        search_grid_px: distance of the places that are tried.
        sub_pixel: refine the best place by a parabola.
        norm: distance of features in tracking.
        lost_ratio: a point is lost when its feature at the best place is farther from the start's than this times what
            is usual around the point; 0 never loses one.
        loss: sum over the pixels and channels of a disc, or their mean.
        mask_weight: of the term that holds fixed pixels; 0 leaves it out.
        keep: show the start's own features outside the mask.
        align_corners: how the map is enlarged to the picture.
        push_px: points closer to their target than this are pulled no more.
        stop_px: a drag ends when all points are as close as this.
        distance: along a straight line, or the larger of both coordinates.
        max_steps: most steps.
    """

    feature_size: int = 64
    free_groups: int = 8
    styles: Styles = "w+"
    directions: Directions = "natural"
    lr: float = 5e-3
    radius_px: float = 6.0
    step_px: float = 2.0
    shorten_step: bool = True
    search_px: float = 24.0
    search_grid_px: float = 2.0
    sub_pixel: bool = True
    norm: Norm = "l2"
    lost_ratio: float = 1.3
    loss: Reduction = "mean"
    mask_weight: float = 5.0
    keep: bool = True
    align_corners: bool = False
    push_px: float = 0.0
    stop_px: float = 2.0
    distance: Distance = "straight"
    max_steps: int = 150

    def __post_init__(self) -> None:
        """Refuse values that no drag can use.

        Raises:
            RangeError: as it says.
        """
        check_limits(self, LIMITS)
        if self.push_px > self.stop_px:
            raise RangeError(f"push_px {self.push_px:g}: allowed is 0 to stop_px, {self.stop_px:g}; else no drag ends.")

    def to_json(self) -> dict[str, Any]:
        """Give the settings as a JSON object."""
        return asdict(self)


LIMITS: Final[Limits] = {
    "feature_size": (4, 4096),
    "free_groups": (1, 1000),
    "lr": (1e-6, 1.0),
    "radius_px": (0, 256),
    "step_px": (0.01, 256),
    "search_px": (0, 512),
    "search_grid_px": (0.05, 64),
    "lost_ratio": (0, 100),
    "mask_weight": (0, 1e6),
    "push_px": (0, 4096),
    "stop_px": (0.01, 4096),
    "max_steps": (1, 100_000),
}
"""Least and most of every number."""


def setting_kinds() -> dict[str, type]:
    """Give the type of every setting."""
    return kinds_of(DragSettings())


def read_settings(document: dict[str, Any]) -> DragSettings:
    """Take settings from a JSON object that must hold all of them and nothing else.

    Raises:
        RangeError: a key is missing or unknown, or a value is of another type or not allowed.
    """
    kinds = setting_kinds()
    for name in document.keys() - kinds.keys():
        raise RangeError(f"unknown setting {name!r:.80}. {did_you_mean(str(name), kinds)}")
    for name, kind in kinds.items():
        if name not in document:
            raise RangeError(f"the setting {name} is missing. Write all of them, as a recipe has them.")
        given = document[name]
        if type(given) is not kind and not (kind is float and type(given) is int):
            raise RangeError(f"{name} is {given!r:.80}; expected is {kind.__name__}.")
        _check_word(name, given)
    return DragSettings(**{name: kinds[name](value) for name, value in document.items()})


def read_change(word: str, kinds: Mapping[str, type] | None = None) -> tuple[str, bool | int | float | str]:
    """Read a single setting of the form ``key=value``.

    Args:
        word: as it was typed.
        kinds: types by name; those of ``DragSettings`` where None.

    Raises:
        RangeError: there is no such setting, or the value is of another type.
    """
    name, equals, text = word.partition("=")
    kinds = kinds or setting_kinds()
    if not equals:
        raise RangeError(f"--set {word!r:.80}: expected is key=value.")
    if name not in kinds:
        raise RangeError(f"unknown setting {name!r:.80}. {did_you_mean(name, kinds)}")
    kind = kinds[name]
    if kind is bool:
        if text not in ("true", "false"):
            raise RangeError(f"--set {name}={text:.80}: allowed are true and false.")
        return name, text == "true"
    try:
        value: int | float | str = kind(text)
    except ValueError as error:
        raise RangeError(f"--set {name}={text:.80}: expected is {kind.__name__}.") from error
    _check_word(name, value)
    return name, value


def _check_word(name: str, value: Any) -> None:
    if name in WORDS and value not in WORDS[name]:
        raise RangeError(f"{name} {value!r:.80}: allowed are {', '.join(WORDS[name])}.")


def preset(
    name: str, *, resolution: int, feature_sizes: Sequence[int], groups: int = 1000, points: int = 1
) -> DragSettings:
    """Give the settings of a name, with lengths for pictures of one size.

    Args:
        name: "trimtab", or what a publication or program does: "paper", "official", "unofficial".
        resolution: of the pictures.
        feature_sizes: of the generator; where it lacks the preset's own, the next lower one is taken.
        groups: of styles that the generator has; no more than these are free.
        points: how many are dragged; the paper stops later for more than five, and "trimtab" steps along plain
            directions from ``MANY_POINTS`` on.

    Raises:
        RangeError: there is no preset of that name.

    Source: arXiv:2305.10973, section 3.2 and its supplement; the defaults of the programs that were published with it
        and after it. Lengths of "trimtab" were chosen on faces of 1024 px.
    """
    if name not in PRESETS:
        raise RangeError(f"no preset {name!r:.80}. {did_you_mean(name, PRESETS)}")
    chosen = PRESETS[name](resolution, points)
    fitting = [size for size in feature_sizes if size <= chosen.feature_size] or list(feature_sizes[:1])
    return replace(chosen, feature_size=fitting[-1], free_groups=min(chosen.free_groups, groups))


def _trimtab(resolution: int, points: int) -> DragSettings:
    """Lengths shrink with the picture, but to nothing smaller than a pixel of it can tell.

    A few points leave open what a face is to be, and natural directions fill that in; many points say it themselves.
    """
    base, scale = DragSettings(), resolution / 1024
    if points >= MANY_POINTS:
        base = replace(base, directions="plain", lr=3e-3, free_groups=6)
    return replace(
        base,
        feature_size=max(64, resolution // 16) if resolution >= 256 else 32,
        radius_px=max(base.radius_px * scale, 1.0),
        step_px=max(base.step_px * scale, 0.5),
        search_px=max(base.search_px * scale, 4.0),
        search_grid_px=max(base.search_grid_px * scale, 0.5),
        stop_px=max(base.stop_px * scale, 0.5),
    )


def _paper(_resolution: int, points: int) -> DragSettings:
    """Features of the sixth block, plain L1 norms, sums, lengths in pixels whatever the picture's size."""
    return replace(
        _published(),
        lr=2e-3,
        feature_size=128,
        radius_px=3.0,
        search_px=12.0,
        norm="l1",
        loss="sum",
        push_px=0.0,
        stop_px=1.0 if points <= 5 else 2.0,
        max_steps=300,
    )


def _official(resolution: int, _points: int) -> DragSettings:
    """The authors' program: lengths scaled by the picture's size over 512, means, L2 in tracking."""
    return replace(
        _published(),
        lr=1e-3,
        feature_size=128,
        radius_px=float(max(round(3 / 512 * resolution), 1)),
        search_px=float(max(round(12 / 512 * resolution), 1)),
        norm="l2",
        push_px=1.0,
        stop_px=max(2 / 512 * resolution, 2.0),
        max_steps=1000,
    )


def _unofficial(_resolution: int, _points: int) -> DragSettings:
    """The program that others published first: features of 256 px, no mask, stop by coordinates."""
    return replace(
        _published(),
        lr=2e-3,
        feature_size=256,
        radius_px=3.0,
        search_px=12.0,
        norm="l1",
        shorten_step=True,
        mask_weight=0.0,
        align_corners=True,
        stop_px=2.0,
        distance="coordinate",
        max_steps=1000,
    )


def _published() -> DragSettings:
    """What the publications share: whole pixels, steps of one, nothing lost, nothing pasted."""
    return DragSettings(
        free_groups=6,
        mask_weight=20.0,
        directions="plain",
        step_px=1.0,
        shorten_step=False,
        search_grid_px=1.0,
        sub_pixel=False,
        lost_ratio=0.0,
        keep=False,
    )


PRESETS: Final[dict[str, Callable[[int, int], DragSettings]]] = {
    "trimtab": _trimtab,
    "paper": _paper,
    "official": _official,
    "unofficial": _unofficial,
}
