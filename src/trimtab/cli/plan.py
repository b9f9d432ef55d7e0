"""``trimtab plan``: memory and time of a run, before any weight is loaded."""

from __future__ import annotations


def plan() -> None:
    """Say what a run would need."""
