"""``trimtab demo drag``: five edits of generated faces, or the page to make one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trimtab.core.job import Job, Note, Result, Saved, without_result

if TYPE_CHECKING:
    from trimtab.drag.edit import Point

GENERATOR: Final = "face"
RESOLUTION: Final = 1024
MOST_STEPS: Final = 80
SHEET_NAME: Final = "edits.png"


@dataclass(frozen=True)
class DemoEdit:
    """One edit of the demonstration.

    Attributes:
        title: what it does.
        seed: of the picture.
        ways: handle and target of every point; one that is to stay has both at the same place.
        movable: centre and half-axes of the ellipse in which things may change; None is everywhere.
    """

    title: str
    seed: int
    ways: tuple[tuple[Point, Point], ...]
    movable: tuple[Point, Point] | None = None


EDITS: Final = (
    DemoEdit(
        "open the mouth",
        20,
        (
            ((518.0, 770.0), (518.0, 815.0)),
            ((519.0, 810.0), (519.0, 860.0)),
            ((517.0, 751.0), (517.0, 745.0)),
            ((409.0, 761.0), (415.0, 765.0)),
            ((619.0, 762.0), (613.0, 766.0)),
        ),
        ((520.0, 800.0), (260.0, 240.0)),
    ),
    DemoEdit("turn the head", 14, (((539.0, 647.0), (460.0, 650.0)),)),
    DemoEdit(
        "raise a brow",
        20,
        (((682.0, 413.0), (684.0, 376.0)),),
        ((700.0, 420.0), (170.0, 150.0)),
    ),
    DemoEdit(
        "smile",
        5,
        (((403.0, 753.0), (383.0, 738.0)), ((630.0, 755.0), (652.0, 740.0))),
        ((515.0, 740.0), (300.0, 250.0)),
    ),
    DemoEdit(
        "close an eye",
        9,
        (((648.0, 466.0), (645.0, 498.0)), ((643.0, 504.0), (643.0, 502.0))),
        ((645.0, 480.0), (130.0, 100.0)),
    ),
)


def five_edits(out: Path) -> Job:
    """Make five edits of generated faces, and one picture of all of them.

    Args:
        out: gets a folder for each edit, and the contact sheet.
    """
    from PIL import Image

    from trimtab.drag.contact_sheet import SheetEdit, contact_sheet
    from trimtab.drag.picture import write_image

    yield from _added()
    shown, results = [], []
    for edit in EDITS:
        yield Note(edit.title, "heading")
        folder = out / edit.title.replace(" ", "-")
        results.append((yield from without_result(_edited(edit, folder))))
        before, after = (Image.open(folder / f"{name}.png").convert("RGB") for name in ("before", "after"))
        handles, targets = zip(*edit.ways, strict=True)
        shown.append(SheetEdit(edit.title, before, after, handles, targets))
    write_image(out / SHEET_NAME, contact_sheet(shown))
    yield Saved("contact sheet", str(out / SHEET_NAME))
    yield Note("Next:", "heading")
    yield Note("trimtab demo drag    # the same by hand, in a browser")
    yield Note(f"trimtab drag {GENERATOR} --seed 7 --handle 512,600 --target 470,600 --out runs/mine")
    yield Result({"sheet": str(out / SHEET_NAME), "edits": results})


def _added() -> Job:
    """Fetch the generator where it is not in the store."""
    from trimtab.store.cards import models_folder
    from trimtab.store.fetching import add_model

    if not (models_folder() / GENERATOR).is_dir():
        yield from without_result(add_model(GENERATOR))


def _edited(edit: DemoEdit, folder: Path) -> Job:
    """Make one edit; a folder that has it already is not worked on again."""
    from trimtab.drag.mask import ellipse
    from trimtab.drag.picture import write_grey
    from trimtab.drag.run import DragRequest, run
    from trimtab.store.resolve import resolve

    mask = None
    if edit.movable is not None:
        mask = folder / "movable.png"
        folder.mkdir(parents=True, exist_ok=True)
        write_grey(mask, ellipse(RESOLUTION, *edit.movable).movable)
    handles, targets = zip(*edit.ways, strict=True)
    yield from run(
        DragRequest(resolve(GENERATOR), GENERATOR, folder, handles, targets, seed=edit.seed, mask=mask, animation=None)
    )


def serve_page(*, as_json: bool, quiet: bool, debug: bool) -> int:
    """Serve the page, and open its view of dragging in the person's browser."""
    from trimtab.cli.console import Output, show
    from trimtab.cli.serve import serve

    show(_added(), Output(as_json, quiet))
    return serve(None, generator=[GENERATOR], port=0, open_view="drag", as_json=as_json, quiet=quiet, debug=debug)
