"""What a command says when it gives up."""

from __future__ import annotations

import pytest


def one_line(capfd: pytest.CaptureFixture[str]) -> str:
    """Give what was said on stderr, which must be one line and no traceback."""
    told = capfd.readouterr().err.strip()
    assert told.startswith("trimtab: ")
    assert "Traceback" not in told
    assert len(told.splitlines()) == 1
    return told
