"""``trimtab serve``: OpenAI's interface and the page, from this machine."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from trimtab.cli.adapted import check_adapters, name_adapters
from trimtab.cli.console import INTERRUPTED, MODEL_HELP, AsJson, Debug, Device, Quiet, read_bytes
from trimtab.cli.door import door_of
from trimtab.cli.teller import Serving, Teller
from trimtab.core.errors import UsageError
from trimtab.core.job import Result

if TYPE_CHECKING:
    from trimtab.models.load import Quantization
    from trimtab.serve.drag.desks import Desks
    from trimtab.serve.loading import Capacity
    from trimtab.serve.service import Service

RUNS: Final = Path("runs")
DRAGS: Final = "drags"
"""Below the folder of the store."""


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

    tell, door = Teller(as_json=as_json, quiet=quiet), door_of(host.lower(), allow_host or [], token_file)
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
        tell.serving(_serving(url, service, desks, door.token), printed=not door.token_is_known)
        if open_view is not None:
            _open(f"{url}/#/{open_view}")
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what strangers send is no warning to the owner
        server.run(sockets=[taken])
    finally:
        taken.close()
    tell.event(Result({"url": url, "generated": 0 if service is None else service.engine.counters.generated}))
    return INTERRUPTED if server.stopped_by == signal.SIGINT else 0


def _load(
    model: str, adapters: list[Path], *, quantize: str | None, device: str, capacity: Capacity, tell: Teller
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


def _serving(url: str, service: Service | None, desks: Desks, token: str | None) -> Serving:
    models = [] if service is None else service.names.all()
    return Serving(url, models, token or "", list(desks.generators.folders()))


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


def _runs_folder(runs: Path | None) -> Path | None:
    if runs is None:
        return RUNS if RUNS.is_dir() else None
    if not runs.is_dir():
        raise UsageError(f"--runs {runs}: there is no such folder. Give the one that holds run folders.")
    return runs
