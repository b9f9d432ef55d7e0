"""``trimtab drag``: pull points of a generated picture to where they are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trimtab.cli.console import AsJson, Debug, Device, Output, Quiet, show
from trimtab.core.errors import RangeError, did_you_mean


def drag(
    generator: Annotated[str, typer.Argument(metavar="GENERATOR", help="A stored name, such as face, or a folder.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; run again to continue.")],
    handle: Annotated[list[str] | None, typer.Option("--handle", help="X,Y of a point; may be repeated.")] = None,
    target: Annotated[list[str] | None, typer.Option("--target", help="X,Y where it goes; one a handle.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which picture to start from.")] = 0,
    latent: Annotated[Path | None, typer.Option("--latent", help="Start from a latent.safetensors instead.")] = None,
    photo: Annotated[Path | None, typer.Option("--photo", help="Start from a photo, which is inverted first.")] = None,
    photo_square: Annotated[
        str | None, typer.Option("--photo-square", help="X,Y,SIZE[,ANGLE] of the face, where none is found.")
    ] = None,
    strength: Annotated[float, typer.Option("--strength", help="Of what was fitted to the photo; 0 is none.")] = 1.0,
    truncation: Annotated[float, typer.Option("--truncation", help="1 is all variety, 0 the mean picture.")] = 0.7,
    mask: Annotated[Path | None, typer.Option("--mask", help="Picture, white where things may move.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Most steps.")] = None,
    preset: Annotated[str, typer.Option("--preset", help="trimtab, paper, official or unofficial.")] = "trimtab",
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")] = None,
    animation: Annotated[str, typer.Option("--animation", help="gif, webp or none.")] = "gif",
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Drag points of a picture; writes it before and after, the way between, and a recipe that repeats it."""
    from trimtab.core.device import pick
    from trimtab.core.interrupt import Interrupted
    from trimtab.drag.invert.portrait import PhotoRequest
    from trimtab.drag.invert.settings import InvertSettings
    from trimtab.drag.run import DragRequest, run
    from trimtab.store.resolve import resolve

    changes, of_photo = read_changes(settings or [])
    inverting = InvertSettings(**of_photo) if of_photo else None
    if steps is not None:
        changes["max_steps"] = steps
    if not 0 <= truncation <= 2:
        raise RangeError(f"--truncation {truncation:g}: allowed is 0 to 2.")
    if photo is None and not handle and not target:
        raise RangeError("no --handle and no --target: give both, such as --handle 515,790 --target 515,822.")
    if photo is None and photo_square is not None:
        raise RangeError("--photo-square without a photo. Give the photo with --photo.")
    if photo is None and of_photo:
        raise RangeError(f"--set {min(of_photo)} is about a photo. Give one with --photo.")
    if photo is not None and latent is not None:
        raise RangeError("--photo and --latent are two starts. Give one of them.")
    request = DragRequest(
        resolve(generator),
        generator,
        out,
        tuple(_point(text, "--handle") for text in handle or ()),
        tuple(_point(text, "--target") for text in target or ()),
        seed=seed,
        latent=latent,
        photo=None if photo is None else PhotoRequest(photo, _square(photo_square), strength, inverting),
        truncation=truncation,
        mask=mask,
        preset=preset,
        changes=tuple(sorted(changes.items())),
        animation=_animation(animation),
        device=str(pick(device)),
    )
    try:
        values = show(run(request), Output(as_json, quiet))
    except Interrupted as stopped:
        typer.echo(f"\n{stopped.args[0]}; every step so far is kept. Continue with the same command.", err=True)
        raise
    if not as_json and not quiet:
        typer.echo(_summary(values))


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


def _animation(text: str) -> Any:
    kinds = {"gif": "gif", "webp": "webp", "none": None}
    if text not in kinds:
        raise RangeError(f"--animation {text:.80}. {did_you_mean(text, kinds)}")
    return kinds[text]
