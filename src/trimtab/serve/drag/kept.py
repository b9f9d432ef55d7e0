"""Sessions on disk: one folder each, named by a number that nobody can guess."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from jaxtyping import Float
from torch import Tensor

from trimtab.core.errors import FormatError, LockedError, MissingError, ResourceError
from trimtab.drag.invert.run import Inversion
from trimtab.drag.recipe import RECIPE_NAME, read_recipe
from trimtab.drag.stored import load_session, save_session
from trimtab.models.stylegan.generator import Generator
from trimtab.models.stylegan.preview import shrink
from trimtab.serve.drag.drawing import Drawing
from trimtab.serve.drag.encoding import jpeg_of
from trimtab.serve.drag.generators import Loaded
from trimtab.serve.drag.portraits import read_facts
from trimtab.store.durable import Disk, remove_tree, write_bytes
from trimtab.store.lock import RunLock

THUMBNAIL_NAME: Final = "thumbnail.jpg"
THUMBNAIL_PX: Final = 128
REMEDY: Final = "Delete the drag, and begin a new one."
KEY: Final = re.compile(r"[0-9a-f]{12}")


class KeptFolder:
    """The folder of one session, held for this process while it is open.

    Attributes:
        path: it is made when the session is first saved.
        thumbnail: JPEG of the picture; written with the session.
    """

    def __init__(self, path: Path) -> None:
        """Choose the folder."""
        self.path = path
        self.thumbnail = b""
        self._lock: RunLock | None = None

    def hold(self) -> None:
        """Keep other processes out.

        Raises:
            LockedError: another one has it.
        """
        if self._lock is None:
            lock = RunLock(self.path)
            try:
                lock.__enter__()
            except LockedError as error:
                raise LockedError(f"{self.path} is open in another process. End that one, and try again.") from error
            except ResourceError as error:
                raise ResourceError(
                    f"{self.path} cannot be locked. Start with TRIMTAB_HOME on a local disk."
                ) from error
            self._lock = lock

    def save(self, drawing: Drawing) -> None:
        """Write a session.

        Raises:
            CheckpointError: the disk refused.
            LockedError: another process has the folder.
        """
        self.hold()
        save_session(self.path, drawing.session, drawing.recipe())
        self.save_thumbnail()

    def show(self, picture: Float[Tensor, "1 3 rows columns"]) -> None:
        """Take a picture for lists; it is written with the session."""
        self.thumbnail = jpeg_of(shrink(picture, min(THUMBNAIL_PX, picture.shape[-1])))

    def save_thumbnail(self) -> None:
        """Write the picture of a list, where there is one.

        Raises:
            CheckpointError: the disk refused.
        """
        if self.thumbnail:
            write_bytes(self.path / THUMBNAIL_NAME, self.thumbnail)

    def load(
        self,
        loaded: Loaded,
        portrait: Inversion | None = None,
        generator: Generator | None = None,
        strength: float | None = None,
    ) -> Drawing:
        """Take a session up where it was saved.

        Args:
            loaded: the generator.
            portrait: what was found for the photo that it is of.
            generator: the same with the photo's adapter.
            strength: of that.

        Raises:
            FormatError: a file is damaged.
            MissingError: a mask is gone.
            RangeError: it is of another generator.
            LockedError: another process has the folder.
        """
        self.hold()
        with _told_to_whoever_looks_on():
            session, recipe = load_session(self.path, generator or loaded.generator, strength=strength)
        return Drawing(loaded, recipe.start, session, portrait)

    def close(self) -> None:
        """Let others in."""
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
            self._lock = None


class Kept:
    """All sessions that are kept."""

    def __init__(self, root: Path) -> None:
        """Choose where; the folder may be absent, and appear later."""
        self._root = root

    def new_key(self) -> str:
        """Make up a name."""
        return secrets.token_hex(6)

    def folder(self, key: str) -> KeptFolder:
        """Give the place of a session, whether or not anything is in it.

        Raises:
            MissingError: no session is ever called so.
        """
        if not KEY.fullmatch(key):
            raise MissingError(f"no drag {key[:40]!r}. Choose one from the list, or begin a new one.")
        return KeptFolder(self._root / key)

    def generator_of(self, key: str) -> str:
        """Name the generator of a session that is kept.

        Raises:
            MissingError: there is none such.
            FormatError: it is damaged.
        """
        path = self.folder(key).path
        if path.is_symlink() or not (path / RECIPE_NAME).is_file():
            raise MissingError(f"the drag {key} is not kept. Choose one from the list, or begin a new one.")
        with _told_to_whoever_looks_on():
            return read_recipe(path / RECIPE_NAME).generator

    def summaries(self) -> list[dict[str, Any]]:
        """Describe all, the last changed first; what is damaged is left out."""
        found = []
        for path in self._root.iterdir() if self._root.is_dir() else ():
            if KEY.fullmatch(path.name) and not path.is_symlink():
                try:
                    found.append(_summary(path))
                except (FormatError, OSError):
                    continue
        return sorted(found, key=lambda one: float(one["changed"]), reverse=True)

    def thumbnail(self, key: str) -> bytes:
        """Give the picture of a list.

        Raises:
            MissingError: there is none.
        """
        path = self.folder(key).path / THUMBNAIL_NAME
        if path.is_symlink() or not path.is_file():
            raise MissingError(f"the drag {key} has no thumbnail.")
        return path.read_bytes()

    def remove(self, key: str) -> None:
        """Delete a session; the caller has put its desk away.

        Raises:
            LockedError: another process has the folder.
        """
        folder = self.folder(key)
        if folder.path.is_dir() and not folder.path.is_symlink():
            folder.hold()
            try:
                remove_tree(Disk(), folder.path)
            finally:
                folder.close()


@contextmanager
def _told_to_whoever_looks_on() -> Iterator[None]:
    """Say what to do about a damaged file in a page, where there are no options of a command."""
    try:
        yield
    except FormatError as error:
        raise FormatError(error.path, error.problem, offset=error.offset, remedy=REMEDY) from error


def _summary(path: Path) -> dict[str, Any]:
    if not (path / RECIPE_NAME).is_file() and (facts := read_facts(path)) is not None:
        changed = path.stat().st_mtime
        return {
            "key": path.name,
            "generator": facts.generator,
            "seed": None,
            "edits": 0,
            "steps": 0,
            "changed": changed,
        }
    recipe = read_recipe(path / RECIPE_NAME)
    return {
        "key": path.name,
        "generator": recipe.generator,
        "seed": recipe.start.seed,
        "edits": len(recipe.edits),
        "steps": sum(edit.steps for edit in recipe.edits),
        "changed": (path / RECIPE_NAME).stat().st_mtime,
    }
