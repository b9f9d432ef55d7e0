"""Photos that were sent and wait for the square that is to be dragged; only the last few are held."""

from __future__ import annotations

import hashlib
import io
import secrets
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from trimtab.core.errors import MissingError, RangeError
from trimtab.drag.invert.align import find_face, open_photo

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_HELD: Final = 2
"""Each may have as many pixels as a photo may have at all."""
SHOWN_PX: Final = 1024
QUALITY: Final = 88


@dataclass(frozen=True)
class Held:
    """A photo.

    Attributes:
        photo: as large as it came.
        sha256: of its file.
        shown: a smaller one, as JPEG.
    """

    photo: Image
    sha256: str
    shown: bytes


class Photos:
    """Photos by a number that nobody can guess; for any thread."""

    def __init__(self) -> None:
        """Begin with none."""
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._changing = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "trimtab-photos")

    def ask(self, content: bytes) -> Future[dict[str, Any]]:
        """Open a photo and look for a face in it.

        The result has "photo", "width", "height", "placement", None where no face was found, and "note" that says so.
        Its errors are those of ``open_photo``.
        """
        return self._worker.submit(self._open, content)

    def find(self, key: str) -> Held:
        """Give a photo.

        Raises:
            MissingError: it is not held any more.
        """
        with self._changing:
            if key not in self._held:
                raise MissingError("the photo is not held any more. Choose it again.")
            return self._held[key]

    def shown(self, key: str) -> bytes:
        """Give a photo as JPEG, of at most ``SHOWN_PX`` a side.

        Raises:
            MissingError: it is not held any more.
        """
        return self.find(key).shown

    def close(self) -> None:
        """Open no more."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _open(self, content: bytes) -> dict[str, Any]:
        photo = open_photo(content)
        placement, note = None, ""
        try:
            placement = asdict(find_face(photo))
        except RangeError as error:
            note = str(error)
        key, held = secrets.token_hex(8), Held(photo, hashlib.sha256(content).hexdigest(), _small(photo))
        with self._changing:
            self._held[key] = held
            while len(self._held) > MOST_HELD:
                self._held.popitem(last=False)
        return {"photo": key, "width": photo.width, "height": photo.height, "placement": placement, "note": note}


def _small(photo: Image) -> bytes:
    share, buffer = min(1.0, SHOWN_PX / max(photo.size)), io.BytesIO()
    size = (max(1, round(photo.width * share)), max(1, round(photo.height * share)))
    (photo.resize(size, reducing_gap=2.0) if share < 1 else photo).save(buffer, format="JPEG", quality=QUALITY)
    return buffer.getvalue()
