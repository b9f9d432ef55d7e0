"""The command ``trimtab``: finds the asked-for command, and turns errors into one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import typer

from trimtab import __version__
from trimtab.cli import (
    bench,
    chat,
    demo,
    doctor,
    drag,
    export,
    generate,
    merge,
    models,
    plan,
    quantize,
    serve,
    train,
)
from trimtab.cli.console import INTERRUPTED
from trimtab.core.errors import TrimtabError, UsageError
from trimtab.core.interrupt import Interrupted

FAILURE, WRONG_USE = 1, 2
# Wrong options raise click's ClickException, whose home differs between versions of typer.
CLICK_ERROR: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    name="trimtab",
    help="Keep a large pretrained network frozen in 4 bits, and steer it with something small.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command(name="demo")(demo.demo)
app.add_typer(models.app, name="models")
app.command(name="quantize")(quantize.quantize)
app.command(name="plan")(plan.plan)
app.command(name="train")(train.train)
app.command(name="generate")(generate.generate)
app.command(name="chat")(chat.chat)
app.command(name="merge")(merge.merge)
app.command(name="export")(export.export)
app.command(name="drag")(drag.drag)
app.command(name="serve")(serve.serve)
app.command(name="bench")(bench.bench)
app.command(name="doctor")(doctor.doctor)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    """Keep a large pretrained network frozen in 4 bits, and steer it with something small."""
    if version:
        typer.echo(f"trimtab {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line.

    Returns:
        0 done, 2 wrong use, 1 failure, 128 + the signal when stopped by one.
    """
    try:
        outcome = app(arguments, standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except typer.Exit as leaving:
        return leaving.exit_code
    except CLICK_ERROR as error:
        return _complain(error.format_message(), WRONG_USE)
    except Interrupted as stopped:
        return stopped.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return FAILURE
    except TrimtabError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        return _complain(str(error), WRONG_USE if isinstance(error, UsageError) else FAILURE)
    except Exception as error:  # noqa: BLE001 - whatever it is, the person reads one line
        if "--debug" in arguments:
            traceback.print_exc()
        words = " ".join(str(error).split()) or "no message"
        return _complain(f"{type(error).__name__}: {words}. Run again with --debug to see where.", FAILURE)


def _complain(message: str, code: int) -> int:
    typer.echo(f"trimtab: {message}", err=True)
    return code


if __name__ == "__main__":
    main()
