"""``trimtab chat``: a conversation in the terminal."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.adapted import AsStored, check_adapters, name_adapters, trained_quantization
from trimtab.cli.console import Debug, Device, ModelArgument, Seed
from trimtab.core.errors import did_you_mean

if TYPE_CHECKING:
    from trimtab.text.engine import Sampling
    from trimtab.text.generation import Speaker

HELP = """\
/reset          forget the conversation
/system TEXT    set the system message; without TEXT take it back
/adapter NAME   answer through another adapter; without NAME list them, "none" is the bare base
/help           these lines
/quit           leave (so does the end of input); Ctrl-C stops an answer"""
BARE = "none"


def chat(
    model: ModelArgument,
    adapter: Annotated[list[Path] | None, typer.Option("--adapter", help="Adapter folder; may be repeated.")] = None,
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
    from trimtab.text.engine import Sampling
    from trimtab.text.generation import Speaker

    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    folder = resolve(model)
    named = name_adapters(adapter or [])
    check_adapters(list(named.values()))
    work_offline()
    quantization = trained_quantization(folder, list(named.values()), as_stored=as_stored)
    speaker = Speaker.load(folder, adapters=named, quantization=quantization, device=pick(device))
    conversation = Conversation(speaker, sampling, list(named), next(iter(named), None))
    typer.echo(f"{model}{f' with {conversation.adapter}' if named else ''}. /help lists commands.")
    while (line := _read_line()) is not None and line != "/quit":
        conversation.take(line)


@dataclass
class Conversation:
    """What was said so far, and who answers.

    Attributes:
        speaker: answers.
        sampling: how.
        adapters: names that may be chosen.
        adapter: the one in use; None is the bare base.
    """

    speaker: Speaker
    sampling: Sampling
    adapters: list[str]
    adapter: str | None
    system: list[dict[str, str]] = field(default_factory=list)
    turns: list[dict[str, str]] = field(default_factory=list)

    def take(self, line: str) -> None:
        """Do what a line says: a command, or something to answer."""
        word, _, rest = line.partition(" ")
        commands = {"/reset": self._reset, "/system": self._set_system, "/adapter": self._choose, "/help": self._help}
        if word in commands:
            commands[word](rest.strip())
        elif word.startswith("/"):
            typer.echo(f"{word} is no command. {did_you_mean(word, [*commands, '/quit'])}")
        elif line:
            self._answer(line)

    def _reset(self, _: str) -> None:
        self.turns.clear()

    def _set_system(self, text: str) -> None:
        self.system = [{"role": "system", "content": text}] if text else []

    def _help(self, _: str) -> None:
        typer.echo(HELP)

    def _choose(self, name: str) -> None:
        if name == BARE or name in self.adapters:
            self.adapter = None if name == BARE else name
        elif name:
            typer.echo(f"no adapter {name}. {did_you_mean(name, [*self.adapters, BARE])}")
            return
        choices = [f"{'*' if (self.adapter or BARE) == each else ' '} {each}" for each in (*self.adapters, BARE)]
        typer.echo("\n".join(choices))

    def _answer(self, line: str) -> None:
        from trimtab.core.errors import RangeError

        asked = [*self.turns, {"role": "user", "content": line}]
        try:
            self.turns = [*asked, {"role": "assistant", "content": self._say([*self.system, *asked])}]
        except RangeError as error:  # it outgrew the window, say, or the template takes no system message
            back = " /system without TEXT takes the system message back." if self.system else ""
            typer.echo(f"{error} /reset begins anew.{back}", err=True)

    def _say(self, messages: list[dict[str, str]]) -> str:
        """Write the answer as it comes; Ctrl-C ends it, and what was said so far counts."""
        pieces: list[str] = []
        began = time.perf_counter()
        stream = self.speaker.stream(self.speaker.prompts.chat(messages), self.sampling, adapter=self.adapter)
        try:
            for piece in stream:
                pieces.append(piece)
                sys.stdout.write(piece)
                sys.stdout.flush()
        except KeyboardInterrupt:
            sys.stdout.write(" [stopped]")
        finally:
            stream.close()
        sys.stdout.write("\n")
        self._say_speed("".join(pieces), time.perf_counter() - began)
        return "".join(pieces)

    def _say_speed(self, text: str, seconds: float) -> None:
        if sys.stdout.isatty() and text:
            count = len(self.speaker.tokenizer(text, add_special_tokens=False).input_ids)
            typer.secho(f"{count} tokens, {count / seconds:.0f} a second", dim=True)


def _read_line() -> str | None:
    """Read what the person says; None at the end of input."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
