"""What a person takes home: the picture, its latent, the recipe, and a moving picture of the way there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from trimtab.core.errors import MissingError, RangeError, did_you_mean
from trimtab.drag.invert.stored import ADAPTER_NAME
from trimtab.drag.picture import Animation, to_image, write_animation
from trimtab.drag.recipe import RECIPE_NAME
from trimtab.drag.run import MOST_FRAMES, MOVING_PX
from trimtab.serve.drag.desk import Desk
from trimtab.serve.drag.drawing import Drawing
from trimtab.serve.drag.encoding import png_of
from trimtab.serve.drag.portraits import FOLDER
from trimtab.serve.drag.worker import PutAway
from trimtab.store.safetensors_writer import safetensors_pieces

Making: TypeAlias = Callable[[Desk, Drawing], bytes]


@dataclass(frozen=True)
class Export:
    """A kind of file.

    Attributes:
        media_type: as HTTP calls it.
        make: gives its bytes; for the desk's thread.
    """

    media_type: str
    make: Making


def export_of(name: str) -> Export:
    """Look up a kind of file by its name.

    Raises:
        MissingError: there is none such.
    """
    if name not in EXPORTS:
        raise MissingError(f"no export {name[:40]!r}. {did_you_mean(name[:40], EXPORTS)}")
    return EXPORTS[name]


def _picture(_: Desk, drawing: Drawing) -> bytes:
    with drawing.loaded.turns.taken():
        return png_of(drawing.session.picture())


def _latent(_: Desk, drawing: Drawing) -> bytes:
    return b"".join(safetensors_pieces({"w_plus": drawing.session.w_plus}))


def _recipe(desk: Desk, _: Drawing) -> bytes:
    desk.save()
    return (desk.kept.path / RECIPE_NAME).read_bytes()


def _adapter(desk: Desk, drawing: Drawing) -> bytes:
    if drawing.portrait is None:
        raise RangeError("this picture is no photo and has no adapter.")
    return (desk.kept.path / FOLDER / ADAPTER_NAME).read_bytes()


def _animation(kind: Animation) -> Making:
    def make(desk: Desk, drawing: Drawing) -> bytes:
        last = drawing.moment
        if last == 0:
            raise RangeError("nothing has moved yet. Drag a point first.")
        shown = sorted({round(index * last / (MOST_FRAMES - 1)) for index in range(MOST_FRAMES)})
        images = []
        try:
            for done, moment in enumerate(shown, start=1):
                if desk.stopping:
                    raise PutAway
                with drawing.loaded.turns.taken():
                    images.append(to_image(drawing.picture_at(moment), most_px=MOVING_PX))
                desk.tell_progress({"what": "Making the moving picture", "done": done, "of": len(shown)})
        finally:
            desk.tell_progress(None)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"drag.{kind}"
            write_animation(path, images, kind)
            return path.read_bytes()

    return make


EXPORTS: Final[Mapping[str, Export]] = {
    "picture.png": Export("image/png", _picture),
    "latent.safetensors": Export("application/octet-stream", _latent),
    "recipe.json": Export("application/json", _recipe),
    "adapter.safetensors": Export("application/octet-stream", _adapter),
    "drag.gif": Export("image/gif", _animation("gif")),
    "drag.webp": Export("image/webp", _animation("webp")),
}
