"""A photo that a drag starts from: opened and placed first, then inverted in a folder, then worn by the generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float32
from torch import Tensor

from trimtab.core.errors import FormatError, RangeError
from trimtab.core.job import Event, Note, Progress, Saved
from trimtab.drag.invert.align import Placement, align, find_face, open_photo
from trimtab.drag.invert.run import invert
from trimtab.drag.invert.settings import InvertSettings
from trimtab.drag.invert.stored import Inversion
from trimtab.drag.picture import write_png
from trimtab.drag.recipe import PhotoStart, Start
from trimtab.drag.stored import ADAPTER_NAME, hash_tensor
from trimtab.models.stylegan.adapter import MOST_STRENGTH, adapted
from trimtab.models.stylegan.generator import Generator
from trimtab.store.durable import hash_file, make_folder

FAR_DB: Final = 22.0
"""Below this, a person sees at once that the picture is another."""
LIMITS: Final = "what the generator never learned (hats, hands, profiles, other things than faces) stays different"


@dataclass(frozen=True)
class PhotoRequest:
    """A photo to start from.

    Attributes:
        path: its file.
        square: what of it becomes the picture; None looks for a face.
        strength: of the adapter, 0 to 4; 1 is as it was fitted.
        settings: of the inversion; the default where None.
    """

    path: Path
    square: Placement | None = None
    strength: float = 1.0
    settings: InvertSettings | None = None


class Portrait:
    """A photo on its way to being a generator's picture."""

    def __init__(self, request: PhotoRequest, generator: Generator) -> None:
        """Open the photo, find the face and cut it out; nothing is written.

        Raises:
            MissingError: there is no such file.
            RangeError: it is no picture, damaged or too large, shows no face, or the square or the strength is not
                allowed.
        """
        if not 0 <= request.strength <= MOST_STRENGTH:
            raise RangeError(f"strength {request.strength:g}: allowed is 0 to {MOST_STRENGTH:g}.")
        try:
            photo = open_photo(request.path)
        except FormatError as error:  # of what a person named just now: wrong use
            raise RangeError(str(error)) from error
        self.request, self.generator = request, generator
        self.square = request.square or find_face(photo)
        self.picture: Float32[Tensor, "1 3 rows columns"] = align(photo, self.square, generator.resolution)
        self.inversion: Inversion | None = None

    def events(self, folder: Path) -> Iterator[Event]:
        """Invert in a folder, which is made; what was done there before is not done again.

        Raises:
            RangeError: the folder holds the inversion of another picture.
            FormatError: what is in it is damaged.
            CheckpointError: the disk refused.
        """
        make_folder(folder)
        x, y, size, angle = astuple(self.square)
        yield Note(f"the square: centre {x:.0f},{y:.0f}, side {size:.0f} px, turned by {angle:.0f} degrees.")
        steps = invert(self.generator, self.picture, self.request.settings, folder=folder)
        with closing(steps):  # type: ignore[type-var]
            for step in steps:
                yield Progress(step.stage, step.step, step.steps, "steps", {"psnr_db": step.psnr_db})
                self.inversion = step.inversion
        write_png(folder / "photo.png", self.picture)
        yield Saved("inversion", str(folder))
        yield Note(self._reached())

    def worn(self) -> Generator:
        """Give the generator with the adapter."""
        return adapted(self.generator, self._inversion.adapter, self.request.strength)

    @property
    def w_plus(self) -> Float32[Tensor, "1 styles width"]:
        """Styles of the photo."""
        return self._inversion.w_plus

    @torch.no_grad()
    def write(self, out: Path) -> Saved:
        """Write the picture that styles and adapter make."""
        path = out / "before.png"
        write_png(path, self.worn().image(self.w_plus))
        return Saved("picture", str(path))

    def start(self, folder: Path) -> Start:
        """Describe what a session begins with, for its recipe."""
        photo = PhotoStart(
            hash_file(self.request.path).sha256,
            tuple(map(float, astuple(self.square))),
            float(self.request.strength),
            hash_file(folder / ADAPTER_NAME).sha256,
        )
        return Start(None, 1.0, hash_tensor(self.w_plus), photo)

    def values(self) -> dict[str, Any]:
        """Give what was reached."""
        found = self._inversion
        return {
            "psnr_db": found.psnr_db,
            "psnr_styles_db": found.psnr_styles_db,
            "adapter_bytes": found.adapter.stored_bytes,
            "square": list(astuple(self.square)),
        }

    @property
    def _inversion(self) -> Inversion:
        assert self.inversion is not None
        return self.inversion

    def _reached(self) -> str:
        found = self._inversion
        said = f"the picture is within {found.psnr_db:.1f} dB of the photo ({found.psnr_styles_db:.1f} by styles alone)"
        return f"{said}; {LIMITS}." if found.psnr_db < FAR_DB else f"{said}."
