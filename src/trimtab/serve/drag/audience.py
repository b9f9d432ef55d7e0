"""Who looks on at a desk, until it is put away."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.serve.drag.encoding import Shot
from trimtab.serve.drag.viewer import Viewer


class Audience:
    """Browsers that look on; for any thread."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._changing = threading.Lock()
        self._viewers: tuple[Viewer, ...] = ()
        self._over = ""

    def __len__(self) -> int:
        """Count who looks on."""
        return len(self._viewers)

    def join(self, viewer: Viewer) -> None:
        """Let a browser look on; where all is over it is told that alone."""
        with self._changing:
            self._viewers = (*self._viewers, viewer)
            over = self._over
        if over:
            viewer.end(over)

    def leave(self, viewer: Viewer) -> None:
        """Let a browser go."""
        with self._changing:
            self._viewers = tuple(one for one in self._viewers if one is not viewer)

    def offer(
        self, status: Mapping[str, Any], shots: Sequence[Shot] = (), notes: Sequence[Mapping[str, str]] = ()
    ) -> None:
        """Show something to everybody."""
        for viewer in self._viewers:
            viewer.offer(status, shots, notes)

    def end(self, reason: str) -> None:
        """Tell everybody, and whoever still comes, that nothing more will be shown."""
        with self._changing:
            self._over, viewers = reason, self._viewers
        for viewer in viewers:
            viewer.end(reason)
