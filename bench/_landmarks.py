"""Landmarks of faces by mediapipe, which needs an environment of its own: it wants an older NumPy."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType

import torch
from jaxtyping import Float64
from torch import Tensor

ENVIRONMENT = Path(__file__).parents[1] / ".venv" / "landmarks" / "bin" / "python"
PROGRAM = Path(__file__).with_name("_face_mesh.py")

# Places in mediapipe's mesh of 478 points: the nose tip; outer corners of the eyes, nose tip, corners of the mouth; and
# the places of the 68 points that face alignment is usually judged by (jaw, brows, nose, eyes, lips).
ONE = (4,)
FIVE = (33, 263, 4, 61, 291)
JAW = (162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389)
BROWS = (71, 63, 105, 66, 107, 336, 296, 334, 293, 301)
NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)
MARKS = {1: ONE, 5: FIVE, 68: JAW + BROWS + NOSE + EYES + LIPS}


class Landmarks:
    """A running detector."""

    def __init__(self, python: Path = ENVIRONMENT) -> None:
        """Start it.

        Raises:
            SystemExit: the environment is not there.
        """
        if not python.exists():
            raise SystemExit(f"{python} is not there: make it with `make .venv/.landmarks`.")
        pipe = subprocess.PIPE
        command = [str(python), str(PROGRAM)]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)

    def find(self, picture: Path) -> Float64[Tensor, "478 2"] | None:
        """Give the points of the face in a picture, as x and y in its pixels; None where there is no face.

        Raises:
            SystemExit: the detector ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(picture, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the landmark detector ended with exit code {self._process.wait()}.")
        points = json.loads(line)
        return None if points is None else torch.tensor(points, dtype=torch.float64)

    def __enter__(self) -> Landmarks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
