"""``trimtab serve``: OpenAI's interface and the page, from this machine."""

from __future__ import annotations

import json
import logging
import secrets
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import typer

from trimtab.cli.adapted import check_adapters, name_adapters
from trimtab.cli.console import INTERRUPTED, MODEL_HELP, AsJson, Debug, Device, Quiet, read_bytes
from trimtab.core.errors import UsageError
from trimtab.core.job import Event, Note, Result

if TYPE_CHECKING:
    from trimtab.models.load import Quantization
    from trimtab.serve.drag.desks import Desks
    from trimtab.serve.loading import Capacity
    from trimtab.serve.service import Service

LEAST_TOKEN_CHARACTERS: Final = 16
MOST_TOKEN_CHARACTERS: Final = 4096
RUNS: Final = Path("runs")
DRAGS: Final = "drags"
"""Below the folder of the store."""


@dataclass(frozen=True)
class Serving(Event):
    """The server listens; ``token`` is empty where none is asked for."""

    name: ClassVar[str] = "serving"
    url: str
    models: list[str]
    token: str = ""
    generators: list[str] = field(default_factory=list)


def serve(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help=f"{MODEL_HELP} Without one the page shows pictures to drag, and runs."),
    ] = None,
    adapter: Annotated[list[Path] | None, typer.Option("--adapter", help="Adapter folder; may be repeated.")] = None,
    host: Annotated[str, typer.Option("--host", help="Address; others than this machine's need a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")] = 8765,
    token_file: Annotated[Path | None, typer.Option("--token-file", help="Holds the token to ask for.")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="Another name of this server, as a proxy passes it on.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=1024, help="Most answers written at once.")] = 16,
    cache: Annotated[str, typer.Option("--cache", help="Memory for prompts that are remembered.")] = "256MiB",
    queue: Annotated[int, typer.Option("--queue", min=1, max=4096, help="Most answers that wait or run.")] = 32,
    runs: Annotated[Path | None, typer.Option("--runs", help="Run folders to show; ./runs where it exists.")] = None,
    quantize: Annotated[
        Literal["nf4", "none"] | None,
        typer.Option("--quantize", help="Form of dense weights; as the adapters learned, else nf4."),
    ] = None,
    generator: Annotated[
        list[str] | None,
        typer.Option("--generator", help="What to drag: a stored name or a folder; may be repeated; else all stored."),
    ] = None,
    open_view: Annotated[
        Literal["chat", "drag", "runs"] | None, typer.Option("--open", help="Show this view in the browser.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Answer programs through OpenAI's interface, and people through a page."""
    from trimtab.serve.app import create_app
    from trimtab.serve.loading import Capacity
    from trimtab.serve.running import Server, listen

    tell, door = _Teller(as_json=as_json, quiet=quiet), _door(host.lower(), allow_host or [], token_file)
    folder, generators = _runs_folder(runs), _generators(generator or [])
    capacity = Capacity(batch, queue, read_bytes(cache, option="--cache", least=0))
    taken = listen(door.host, port)
    try:
        service = None
        if model is not None:
            service = _load(model, adapter or [], quantize=quantize, device=device, capacity=capacity, tell=tell)
        desks = _desks(generators, device)
        server = Server(create_app(service, token=door.token, hosts=door.hosts, runs_folder=folder, desks=desks))
        url = door.url(taken.getsockname()[1])
        models = [] if service is None else service.names.all()
        offered = list(desks.generators.folders())
        tell.serving(Serving(url, models, door.token or "", offered), printed=not door.token_is_known)
        if open_view is not None:
            _open(f"{url}/#/{open_view}")
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what strangers send is no warning to the owner
        server.run(sockets=[taken])
    finally:
        taken.close()
    tell.event(Result({"url": url, "generated": 0 if service is None else service.engine.counters.generated}))
    return INTERRUPTED if server.stopped_by == signal.SIGINT else 0


@dataclass(frozen=True)
class _Door:
    """Where the server listens, and who is let in."""

    host: str
    hosts: list[str]
    token: str | None
    token_is_known: bool

    def url(self, port: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}"


def _door(host: str, allowed: list[str], token_file: Path | None) -> _Door:
    """Ask for a token wherever others than this machine can reach the server."""
    from trimtab.serve.running import is_loopback

    names = [_host_name(name) for name in allowed]
    given = None if token_file is None else _read_token(token_file)
    if is_loopback(host):
        return _Door(host, names, given, token_is_known=True)
    return _Door(host, [*names, host, "*"], given or secrets.token_urlsafe(32), token_is_known=given is not None)


class _Teller:
    """Prints events as lines for a person, or as JSON for a program."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self._as_json, self._quiet = as_json, quiet

    def event(self, event: Event, *lines: str) -> None:
        if self._as_json:
            print(json.dumps(event.to_json()), flush=True)
        elif not self._quiet:
            for line in lines:
                typer.echo(line)

    def note(self, text: str) -> None:
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


def _load(
    model: str, adapters: list[Path], *, quantize: str | None, device: str, capacity: Capacity, tell: _Teller
) -> Service:
    from trimtab.core.device import pick, work_offline
    from trimtab.serve.loading import load_service
    from trimtab.store.resolve import HUB_PREFIX, resolve

    place = pick(device)
    folder = resolve(model)
    named = name_adapters(adapters)
    check_adapters(adapters)
    work_offline()
    quantization = _quantization(folder, adapters, quantize)
    form = "as stored" if quantization is None else f"linear weights in {quantization.kind}"
    tell.note(f"Loading {folder} ({form}){''.join(f' with {path}' for path in adapters)}")
    name = model.removeprefix(HUB_PREFIX) if model.startswith(HUB_PREFIX) else None  # its folder is called by a hash
    return load_service(folder, adapters=named, quantization=quantization, capacity=capacity, name=name, device=place)


def _generators(names: list[str]) -> dict[str, Path] | None:
    """Find the folders of generators; None where none is named.

    Raises:
        UsageError: two of them have the same name.
    """
    from trimtab.models.stylegan.config import read_config
    from trimtab.store.resolve import resolve

    found: dict[str, Path] = {}
    for name in names:
        folder = resolve(name)
        read_config(folder)  # refuses what is none, before anything listens
        known = found.setdefault(folder.resolve().name, folder)
        if known.resolve() != folder.resolve():
            raise UsageError(f"--generator {known} and {folder} have the same name. Rename one of the folders.")
    return found or None


def _desks(generators: dict[str, Path] | None, device: str) -> Desks:
    from trimtab.core.device import home, pick
    from trimtab.serve.drag.desks import Desks
    from trimtab.serve.drag.generators import Generators

    return Desks(Generators(generators, device=pick(device)), home() / DRAGS)


def _quantization(folder: Path, adapters: list[Path], quantize: str | None) -> Quantization | None:
    """Choose the form of dense weights: as told, else as the adapters learned, else NF4."""
    from trimtab.models.config import read_model_config
    from trimtab.models.load import Quantization
    from trimtab.models.trained_base import form_for, quantization_like
    from trimtab.store.adapter_base import read_base

    if "quantization_config" in read_model_config(folder) or quantize == "none":
        return None
    if quantize == "nf4" or all(read_base(path) is None for path in adapters):
        return Quantization("nf4")
    try:
        form = form_for(folder, adapters)
    except UsageError as error:
        raise UsageError(f"{error} Choose with --quantize.") from error
    return None if form is None else quantization_like(form)


def _open(address: str) -> None:
    """Show an address in the person's browser; what cannot be shown was printed before."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()  # some browsers hold their caller up


def _host_name(given: str) -> str:
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


def _runs_folder(runs: Path | None) -> Path | None:
    if runs is None:
        return RUNS if RUNS.is_dir() else None
    if not runs.is_dir():
        raise UsageError(f"--runs {runs}: there is no such folder. Give the one that holds run folders.")
    return runs
