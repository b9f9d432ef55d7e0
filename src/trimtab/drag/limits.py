"""Limits and types of settings: what drags and inversions check alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias

from trimtab.core.errors import RangeError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Limits: TypeAlias = Mapping[str, tuple[float, float]]
"""Least and most of numbers, by name."""


def check_limits(settings: DataclassInstance, limits: Limits) -> None:
    """Refuse settings of which a number is outside its limits, or is none.

    Raises:
        RangeError: as it says.
    """
    for name, (least, most) in limits.items():
        value = getattr(settings, name)
        if not (math.isfinite(value) and least <= value <= most):
            raise RangeError(f"{name} {value}: allowed is {least:g} to {most:g}.")


def kinds_of(settings: DataclassInstance) -> dict[str, type]:
    """Give the type of every setting, by name."""
    return {name: type(value) for name, value in asdict(settings).items()}
