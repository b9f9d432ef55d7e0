"""Numbers as people say them."""

from __future__ import annotations

from typing import Final

BYTE_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def human_bytes(count: float) -> str:
    """Write a number of bytes: "512 B", and in larger units always three digits, as in "1.50 GB"."""
    if abs(count) < 999.5:  # what rounds to 1000 is 1 of the next unit
        return f"{count:.0f} {BYTE_UNITS[0]}"
    for unit in BYTE_UNITS[1:-1]:
        count /= 1000
        if abs(count) < 999.5:
            return f"{count:#.3g}".rstrip(".") + f" {unit}"
    return f"{count / 1000:.3g} {BYTE_UNITS[-1]}"


def human_count(count: float) -> str:
    """Write a large number in millions or billions."""
    return f"{count / 1e9:.3g} billion" if count >= 1e9 else f"{count / 1e6:.3g} million"


def human_seconds(seconds: float) -> str:
    """Write a stretch of time in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
