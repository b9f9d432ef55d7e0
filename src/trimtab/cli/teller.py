"""What a server tells on its terminal."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import ClassVar

import typer

from trimtab.core.job import Event, Note


@dataclass(frozen=True)
class Serving(Event):
    """The server listens; ``token`` is empty where none is asked for."""

    name: ClassVar[str] = "serving"
    url: str
    models: list[str]
    token: str = ""
    generators: list[str] = field(default_factory=list)


class Teller:
    """Prints events as lines for a person, or as JSON for a program."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self._as_json, self._quiet = as_json, quiet

    def event(self, event: Event, *lines: str) -> None:
        """Print the event, or its lines."""
        if self._as_json:
            print(json.dumps(event.to_json()), flush=True)
        elif not self._quiet:
            for line in lines:
                typer.echo(line)

    def note(self, text: str) -> None:
        """Print a sentence."""
        self.event(Note(text), text)

    def serving(self, event: Serving, *, printed: bool) -> None:
        """Say where and who answers; a token from a file is not repeated."""
        event = event if printed else replace(event, token="")
        lines = [f"Page:   {event.url}/", f"OpenAI: {event.url}/v1"]
        lines.append(f"Models: {', '.join(event.models) or 'none; start with a MODEL to get answers'}")
        if event.generators:
            lines.append(f"Drag:   {event.url}/#/drag ({', '.join(event.generators)})")
        token = [f"Token:  {event.token} (send it as: Authorization: Bearer TOKEN)"] if event.token else []
        self.event(event, *lines, *token, "Ctrl-C stops; SIGTERM lets running answers end first.")
        if self._quiet and not self._as_json:
            for line in token:  # which nobody could learn otherwise
                typer.echo(line)
