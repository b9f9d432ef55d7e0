"""Sides that are measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def printed_by(script: str, *words: object) -> Any:
    """Run a Python script in a fresh process and give the JSON of the last line that it prints.

    Raises:
        SystemExit: it failed; the end of what it said is in the message.
    """
    command = [sys.executable, script, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
