"""What a test needs besides Python packages: skipped with a reason, or failed where nothing may be missing."""

from __future__ import annotations

import os

import pytest


def need(condition: bool, what: str, how_to_get_it: str) -> None:
    """Skip the test or module where an asset or tool is absent, saying how to get it; under ``CI`` fail instead."""
    if condition:
        return
    message = f"{what} is absent. {how_to_get_it}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message, allow_module_level=True)
