"""``trimtab train``: fine-tune, continue, or look at the data first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trimtab.cli.console import AsJson, Debug, Device, ModelArgument, Output, Quiet, show

SHOWN_EXAMPLES = 3


def train(
    model: ModelArgument,
    data: Annotated[str, typer.Option("--data", help="Rows: jsonl, json, csv, parquet, txt, or hf:org/name.")],
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; run again to continue.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="qlora, lora, int8 or full.")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="guanaco: the settings of the QLoRA paper.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file of settings.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")] = None,
    on_bad_row: Annotated[str | None, typer.Option("--on-bad-row", help="stop or skip.")] = None,
    show_examples: Annotated[
        bool, typer.Option("--show", help="Print the first examples, learned tokens coloured.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard files too.")] = False,
    device: Device = "auto",
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of everything drawn at random.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fine-tune a model on rows of text; the same command continues a stopped run to the same bits."""
    from trimtab.core.device import work_offline
    from trimtab.core.interrupt import Interrupted
    from trimtab.store.resolve import HUB_PREFIX, resolve
    from trimtab.train.request import TrainRequest
    from trimtab.train.run import run
    from trimtab.train.settings import read_settings

    overrides: dict[str, Any] = {"method": method, "on_bad_row": on_bad_row, "seed": seed}
    given = {key: value for key, value in overrides.items() if value is not None}
    resolved = read_settings(config=config, recipe=recipe, words=settings or (), overrides=given)
    folder = resolve(model)
    if not (model.startswith(HUB_PREFIX) or data.startswith(HUB_PREFIX)):
        work_offline()
    run_folder = out or Path("runs") / f"{folder.name}-{resolved.method}"
    request = TrainRequest(folder, data, run_folder, resolved, model, device, tensorboard)
    if show_examples:
        _show_examples(request)
        return
    try:
        show(run(request), Output(as_json, quiet))
    except Interrupted as stopped:
        said = f"{stopped.args[0]}; the last finished step is saved. Continue with the same command:"
        typer.echo(f"\n{said}\n  {_command_line()}", err=True)
        raise


def _command_line() -> str:
    import shlex
    import sys

    return shlex.join(["trimtab", *sys.argv[1:]])


def _show_examples(request: Any) -> None:
    """Print what the model will see; tokens it learns from stand out."""
    from rich.console import Console
    from rich.text import Text

    from trimtab.models.tokenizer import read_tokenizer
    from trimtab.train.data import preview
    from trimtab.train.prepare import read_data

    tokenizer = read_tokenizer(request.model)
    data = read_data(request, tokenizer)
    console = Console(highlight=False)
    for note in data.notes:
        console.print(note, markup=False, soft_wrap=True)
    for example in data.train[:SHOWN_EXAMPLES]:
        learned = example.trained_tokens
        heading = f"\n{example.place}: {len(example)} tokens, {learned} of them learned"
        console.print(heading, style="bold cyan", markup=False, soft_wrap=True)
        text = Text()
        for piece, trained in preview(example, tokenizer):
            text.append(piece, style="bold green" if trained else "dim")
        console.print(text)
    console.print("\nBold green is learned; dim is only read.", style="italic")
