"""``trimtab chat``: a conversation in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.adapted import AsStored, trained_quantization
from trimtab.cli.console import Debug, Device, ModelArgument, Seed

if TYPE_CHECKING:
    from trimtab.text.generation import Sampling, Speaker

HELP = "/reset forgets the conversation, /system TEXT sets the system message, /quit leaves."


def chat(
    model: ModelArgument,
    adapter: Annotated[Path | None, typer.Option("--adapter", help="Adapter folder.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Most tokens an answer.")] = 512,
    temperature: Annotated[float, typer.Option("--temperature", help="0 always takes the likeliest token.")] = 0.0,
    top_p: Annotated[float, typer.Option("--top-p", help="Draw among the likeliest tokens of this share.")] = 1.0,
    as_stored: AsStored = False,
    device: Device = "auto",
    seed: Seed = 0,
    debug: Debug = False,
) -> None:
    """Talk with a model; the answer appears as it is written."""
    from trimtab.core.device import pick, work_offline
    from trimtab.store.resolve import resolve
    from trimtab.text.generation import Sampling, Speaker

    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    folder = resolve(model)
    work_offline()
    quantization = trained_quantization(folder, adapter, as_stored=as_stored)
    speaker = Speaker.load(folder, adapter=adapter, quantization=quantization, device=pick(device))
    typer.echo(f"{model}{f' with {adapter}' if adapter else ''}. {HELP}")
    _converse(speaker, sampling)


def _converse(speaker: Speaker, sampling: Sampling) -> None:
    from trimtab.core.errors import RangeError

    system: list[dict[str, str]] = []
    turns: list[dict[str, str]] = []
    while (line := _read_line()) is not None:
        if line == "/quit":
            return
        if line == "/reset":
            turns.clear()
        elif line.startswith("/system"):
            text = line.removeprefix("/system").strip()
            system = [{"role": "system", "content": text}] if text else []
        elif line.startswith("/"):
            typer.echo(f"{line.split()[0]} is no command. {HELP}")
        elif line:
            asked = [*turns, {"role": "user", "content": line}]
            try:
                turns = [*asked, {"role": "assistant", "content": _say(speaker, [*system, *asked], sampling)}]
            except RangeError as error:  # the conversation outgrew the window; it can still be begun anew
                typer.echo(f"{error} {HELP}", err=True)


def _say(speaker: Speaker, messages: list[dict[str, str]], sampling: Sampling) -> str:
    said = ""
    for piece in speaker.stream(speaker.chat_prompt(messages), sampling):
        said += piece
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return said


def _read_line() -> str | None:
    """Read what the person says; None at the end of input."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
