"""The list of what a checkpoint holds, which vouches for every file and for itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from trimtab.core.errors import CheckpointError
from trimtab.store.durable import Written

MANIFEST_NAME: Final = "manifest.json"
MANIFEST_FORMAT: Final = 1


def encode_manifest(step: int, files: dict[str, Written]) -> bytes:
    """Give the bytes of the manifest, its own checksum in it."""
    body = {"format": MANIFEST_FORMAT, "step": step, "files": {name: asdict(file) for name, file in files.items()}}
    return _with_checksum(body)


def _with_checksum(body: dict[str, Any]) -> bytes:
    checksum = hashlib.sha256(json.dumps(body, indent=1).encode()).hexdigest()
    return json.dumps({**body, "checksum": checksum}, indent=1).encode()


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of the checkpoint in a folder.

    Returns:
        "format", "step" and "files" (name to size and hash).

    Raises:
        CheckpointError: it is damaged, or does not belong to this folder.
        OSError: it is missing or cannot be read.
    """
    raw = (path / MANIFEST_NAME).read_bytes()
    try:
        manifest = json.loads(raw)
        body = {key: value for key, value in manifest.items() if key != "checksum"}
        intact = raw == _with_checksum(body)
    except (ValueError, AttributeError, RecursionError):
        intact = False
    if not intact:
        raise CheckpointError(f"{MANIFEST_NAME} is damaged: it does not agree with its own checksum")
    if body.get("format") != MANIFEST_FORMAT:
        raise CheckpointError(f"{MANIFEST_NAME} has format {body.get('format')}; this version reads {MANIFEST_FORMAT}")
    if any(Path(name).name != name for name in body["files"]):
        raise CheckpointError(f"{MANIFEST_NAME} names a file outside the folder")
    if path.name != f"step-{body['step']}":
        raise CheckpointError(f"the folder holds step {body['step']}, not what its name says")
    return body
