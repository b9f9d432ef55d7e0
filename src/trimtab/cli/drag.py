"""``trimtab drag``: pull points of a generated picture to where they are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from trimtab.cli.console import AsJson, Debug, Device, Output, Quiet, show
from trimtab.core.errors import RangeError, did_you_mean

if TYPE_CHECKING:
    from trimtab.drag.run import DragRequest

WITHOUT_PHOTO: Final = "is about a photo. Give one with --photo."
WITHOUT_POINTS: Final = "is about a drag. Give --handle and --target too."


def drag(
    generator: Annotated[str, typer.Argument(metavar="GENERATOR", help="A stored name, such as face, or a folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; run again to continue.")],
    handle: Annotated[list[str] | None, typer.Option("--handle", help="X,Y of a point; may be repeated.")] = None,
    target: Annotated[list[str] | None, typer.Option("--target", help="X,Y where it goes; one a handle.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Which picture to start from.", show_default="0")
    ] = None,
    latent: Annotated[Path | None, typer.Option("--latent", help="Start from a latent.safetensors instead.")] = None,
    photo: Annotated[Path | None, typer.Option("--photo", help="Start from a photo, which is inverted first.")] = None,
    photo_square: Annotated[
        str | None, typer.Option("--photo-square", help="X,Y,SIZE[,ANGLE] of the face, where none is found.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option("--strength", help="Of what was fitted to the photo; 0 is none.", show_default="1")
    ] = None,
    truncation: Annotated[
        float | None, typer.Option("--truncation", help="1 is all variety, 0 the mean picture.", show_default="0.7")
    ] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="Picture, white where things may move.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Most steps.")] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="trimtab, paper, official or unofficial.", show_default="trimtab")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")] = None,
    animation: Annotated[str | None, typer.Option("--animation", help="gif, webp or none.", show_default="gif")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Drag points of a picture; writes it before and after, the way between, and a recipe that repeats it."""
    from trimtab.core.device import pick
    from trimtab.drag.run import DragRequest
    from trimtab.store.resolve import resolve

    changes, of_photo = read_changes(settings or [])
    _check_start({"--photo": photo, "--latent": latent, "--seed": seed}, truncation)
    if photo is None:
        _refuse({"--photo-square": photo_square, "--strength": strength, **_set(of_photo)}, WITHOUT_PHOTO)
    if not handle and not target:
        _check_undragged(photo, {"--mask": mask, "--steps": steps, "--preset": preset, **_set(changes)}, animation)
    request = DragRequest(
        resolve(generator),
        generator,
        out,
        tuple(_point(text, "--handle") for text in handle or ()),
        tuple(_point(text, "--target") for text in target or ()),
        latent=latent,
        photo=_photo(photo, photo_square, strength, of_photo),
        mask=mask,
        changes=_with_steps(changes, steps),
        animation=_animation(animation),
        device=str(pick(device)),
        **_given(seed=seed, truncation=truncation, preset=preset),
    )
    _run(request, as_json=as_json, quiet=quiet)


def _run(request: DragRequest, *, as_json: bool, quiet: bool) -> None:
    from trimtab.core.interrupt import Interrupted
    from trimtab.drag.run import run

    try:
        values = show(run(request), Output(as_json, quiet))
    except Interrupted as stopped:
        typer.echo(f"\n{stopped.args[0]}; every step so far is kept. Continue with the same command.", err=True)
        raise
    if not as_json and not quiet:
        typer.echo(_summary(values))


def _check_start(starts: dict[str, Any], truncation: float | None) -> None:
    """Insist that a picture starts from one thing, and that what is said of a seed goes with a seed."""
    given = [option for option, value in starts.items() if value is not None]
    if len(given) > 1:
        raise RangeError(f"{given[0]} and {given[1]} are two starts. Give one of them.")
    if truncation is not None and given not in ([], ["--seed"]):
        raise RangeError(f"--truncation is about a seed, and {given[0]} is another start. Leave it out.")
    if truncation is not None and not 0 <= truncation <= 2:
        raise RangeError(f"--truncation {truncation:g}: allowed is 0 to 2.")


def _check_undragged(photo: Path | None, given: dict[str, Any], animation: str | None) -> None:
    """Insist that what nothing is dragged of is a photo, and that nothing is said of the drag."""
    if photo is None:
        raise RangeError("no --handle and no --target: give both, such as --handle 515,790 --target 515,822.")
    _refuse({**given, "--animation": None if animation == "none" else animation}, WITHOUT_POINTS)


def _refuse(options: dict[str, Any], why: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise RangeError(f"{option} {why}")


def _set(settings: dict[str, Any]) -> dict[str, Any]:
    return {f"--set {name}": value for name, value in sorted(settings.items())}


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _with_steps(changes: dict[str, Any], steps: int | None) -> tuple[tuple[str, Any], ...]:
    if steps is not None and "max_steps" in changes:
        raise RangeError(f"--steps {steps} and --set max_steps={changes['max_steps']} are the same. Give one of them.")
    return tuple(sorted((changes | _given(max_steps=steps)).items()))


def _photo(path: Path | None, square: str | None, strength: float | None, settings: dict[str, Any]) -> Any:
    from trimtab.drag.invert.portrait import PhotoRequest
    from trimtab.drag.invert.settings import InvertSettings

    if path is None:
        return None
    inverting = InvertSettings(**settings) if settings else None
    return PhotoRequest(path, _square(square), settings=inverting, **_given(strength=strength))


def _summary(values: dict[str, Any]) -> str:
    if "end" not in values:
        return f"  inverted to {values['psnr_db']:.1f} dB; drag it with --handle and --target and the same --out"
    ends = {
        "arrived": "arrived",
        "lost": "stopped: the points that are left are lost",
        "steps": "stopped at the step limit",
    }
    way = f"{values['distance_before_px']:.1f} px -> {values['distance_after_px']:.1f} px by the tracker"
    return f"  {ends[values['end']]} after {values['steps']} steps; mean distance {way}"


def read_changes(words: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read settings of the drag, and of the inversion of a photo; no name is of both.

    Raises:
        RangeError: there is no such setting, or the value is of another type.
    """
    from trimtab.drag.invert.settings import invert_kinds
    from trimtab.drag.settings import read_change, setting_kinds

    of_photos = invert_kinds()
    read = dict(read_change(word, {**of_photos, **setting_kinds()}) for word in words)
    inverting = {name: value for name, value in read.items() if name in of_photos}
    return {name: value for name, value in read.items() if name not in of_photos}, inverting


def _point(text: str, option: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        raise RangeError(
            f"{option} {text:.80}: expected are two numbers such as 300,420, x to the right, y down."
        ) from error
    return x, y


def _square(text: str | None) -> Any:
    from trimtab.drag.invert.align import Placement

    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (3, 4):
        raise RangeError(f"--photo-square {text:.80}: expected are three or four numbers such as 512,400,300,5.")
    return Placement(*numbers)


def _animation(text: str | None) -> Any:
    kinds = {"gif": "gif", "webp": "webp", "none": None}
    text = "gif" if text is None else text
    if text not in kinds:
        raise RangeError(f"--animation {text:.80}. {did_you_mean(text, kinds)}")
    return kinds[text]
