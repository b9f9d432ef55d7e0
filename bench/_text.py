"""The text that the scripts of this folder read: Shakespeare's plays."""

from __future__ import annotations

import gzip
from pathlib import Path

PLAYS = Path(__file__).parent / "data" / "tinyshakespeare.txt.gz"


def plays() -> str:
    """Give all of it."""
    return gzip.decompress(PLAYS.read_bytes()).decode("utf-8")
