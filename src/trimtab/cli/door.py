"""Where a server listens, and who is let in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trimtab.core.errors import UsageError

LEAST_TOKEN_CHARACTERS: Final = 16
MOST_TOKEN_CHARACTERS: Final = 4096


@dataclass(frozen=True)
class Door:
    """Where the server listens, and who is let in."""

    host: str
    hosts: list[str]
    token: str | None
    token_is_known: bool

    def url(self, port: int) -> str:
        """Give the address to call it by."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}"


def door_of(host: str, allowed: list[str], token_file: Path | None) -> Door:
    """Ask for a token wherever others than this machine can reach the server.

    Raises:
        UsageError: an allowed name is no name alone, or the file holds no token.
    """
    from trimtab.serve.running import is_loopback

    names = [host_name(name) for name in allowed]
    given = None if token_file is None else _read_token(token_file)
    if is_loopback(host):
        return Door(host, names, given, token_is_known=True)
    return Door(host, [*names, host, "*"], given or secrets.token_urlsafe(32), token_is_known=given is not None)


def host_name(given: str) -> str:
    """Give a name as browsers send it.

    Raises:
        UsageError: it has a scheme, a port or a path, which would never match.
    """
    from trimtab.serve.guard import name_of

    name = name_of(given.lower())
    if name.split() != [name] or name != given.lower().rstrip(".").removeprefix("[").removesuffix("]"):
        raise UsageError(f"--allow-host {given}: allowed is a name alone, as in models.example.org.")
    return name


def _read_token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {path}: cannot be read ({error}). Give a text file with the token.") from error
    fits = LEAST_TOKEN_CHARACTERS <= len(token) <= MOST_TOKEN_CHARACTERS
    if not (fits and token.isascii() and token.isprintable() and " " not in token):
        raise UsageError(
            f"--token-file {path}: holds {len(token)} characters; allowed are {LEAST_TOKEN_CHARACTERS} to "
            f"{MOST_TOKEN_CHARACTERS} of printable ASCII without spaces. Write one: openssl rand -hex 32 > {path}"
        )
    return token
