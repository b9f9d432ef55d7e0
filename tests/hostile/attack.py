"""What every hostile file must meet: one clear error, soon, in little memory, and no code run."""

from __future__ import annotations

import gc
import json
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trimtab.core.errors import TrimtabError

LIMIT_S = 1.0
SLACK_BYTES = 64 << 20
FORBIDDEN_EVENTS = ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.fork", "pickle.find_class")
UNSAFE_ENDINGS = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".py", ".so")


def refused(call: Callable[[], Any], path: Path, *, named: str | None = None, warm: bool = True) -> TrimtabError:
    """Insist that ``call`` ends in one error of ours that names the file, within the limits.

    Args:
        call: reads the hostile file.
        path: the file or folder under attack.
        named: what the message must hold; the path's own name where None.
        warm: call once before, so that the import of large libraries is not counted.
    """
    if warm:
        _raised(call)
    before, size = _highest_resident(reset=True), _size(path)
    gc.freeze()  # what other tests left behind is not this file's to be gone through
    began = time.process_time()
    error = _raised(call)
    took_s = time.process_time() - began
    gc.unfreeze()
    assert took_s < LIMIT_S, f"{took_s:.2f} s"
    grown = _highest_resident() - before
    assert grown < 2 * size + SLACK_BYTES, f"{grown} bytes more were resident for a file of {size}"
    message = str(error)
    assert (named or path.name) in message
    assert "\n" not in message.strip()
    assert len(message) < 1000
    return error


@contextmanager
def nothing_runs(folder: Path) -> Iterator[None]:
    """Fail if code from ``folder`` runs, a process starts, a socket opens, or a pickle is looked at, in the block."""
    seen: list[str] = []
    _watching.append((folder, seen))
    try:
        yield
    finally:
        _watching.pop()
    assert seen == []


_watching: list[tuple[Path, list[str]]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    folder, seen = _watching[-1]
    if event in FORBIDDEN_EVENTS or event == "socket.connect":
        seen.append(f"{event} {arguments!r:.200}")
    elif event == "exec" and str(folder) in str(getattr(arguments[0], "co_filename", "")):
        seen.append(f"exec of {arguments[0].co_filename}")
    elif event == "open" and str(arguments[0]).startswith(str(folder)) and str(arguments[0]).endswith(UNSAFE_ENDINGS):
        seen.append(f"open of {arguments[0]}")


sys.addaudithook(_hook)


def _raised(call: Callable[[], Any]) -> TrimtabError:
    try:
        call()
    except TrimtabError as error:
        return error
    raise AssertionError("the hostile file was accepted")


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [entry for entry in path.rglob("*") if entry.is_file()]
    return sum(file.stat().st_size for file in files)


def _highest_resident(*, reset: bool = False) -> int:
    """Give the highest resident memory since the last reset, in bytes; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    key = "VmRSS:" if reset else "VmHWM:"
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def safetensors_bytes(header: Any, data: bytes = b"") -> bytes:
    """Put a safetensors file together: any header (JSON of it, or bytes as they are) before any data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    """Give one entry of a safetensors header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def text(value: str | bytes) -> bytes:
    """Write a string as GGUF does."""
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_head(tensors: int = 0, keys: int = 0, *, magic: bytes = b"GGUF", version: int = 3) -> bytes:
    """Write the first bytes of a GGUF file."""
    return magic + struct.pack("<IQQ", version, tensors, keys)


def gguf_key(name: str | bytes, code: int, value: bytes) -> bytes:
    """Write a metadata entry."""
    return text(name) + struct.pack("<I", code) + value


def gguf_tensor(name: str = "t", shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    """Write a tensor's header."""
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
