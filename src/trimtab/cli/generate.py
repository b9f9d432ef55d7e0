"""``trimtab generate``: one prompt, one answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.adapted import AsStored, check_adapters, trained_quantization
from trimtab.cli.console import AsJson, Debug, Device, ModelArgument, Output, Quiet, Seed, show
from trimtab.core.errors import RangeError, UsageError
from trimtab.core.job import Job, Result

if TYPE_CHECKING:
    from trimtab.text.generation import Speaker


def generate(
    model: ModelArgument,
    prompt: Annotated[str, typer.Option("--prompt", help="What to answer.")],
    adapter: Annotated[Path | None, typer.Option("--adapter", help="Adapter folder.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Most tokens to write.")] = 256,
    temperature: Annotated[float, typer.Option("--temperature", help="0 always takes the likeliest token.")] = 0.0,
    top_p: Annotated[float, typer.Option("--top-p", help="Draw among the likeliest tokens of this share.")] = 1.0,
    as_stored: AsStored = False,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the prompt as it is, without a chat format.")] = False,
    device: Device = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Answer one prompt."""
    from trimtab.core.device import pick, work_offline
    from trimtab.nn.lora import DEFAULT_ADAPTER
    from trimtab.store.resolve import resolve
    from trimtab.text.engine import Sampling
    from trimtab.text.generation import Speaker

    if not prompt.strip():
        raise UsageError("the prompt is empty. Give --prompt some text.")
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    folder = resolve(model)
    adapters = {} if adapter is None else {DEFAULT_ADAPTER: adapter}
    check_adapters(list(adapters.values()))
    work_offline()

    def job() -> Job:
        quantization = trained_quantization(folder, list(adapters.values()), as_stored=as_stored, quiet=quiet)
        speaker = Speaker.load(folder, adapters=adapters, quantization=quantization, device=pick(device))
        asked = speaker.prompts.text(prompt) if raw else _in_chat_format(speaker, prompt)
        answer = speaker.answer(asked, sampling, adapter=next(iter(adapters), None))
        yield Result(
            {
                "text": answer.text,
                "tokens": answer.tokens,
                "prompt_tokens": answer.prompt_tokens,
                "tokens_per_s": answer.tokens / answer.seconds,
            }
        )

    values = show(job(), Output(as_json, quiet))
    if not as_json:
        typer.echo(values["text"])


def _in_chat_format(speaker: Speaker, prompt: str) -> tuple[int, ...]:
    try:
        return speaker.prompts.chat([{"role": "user", "content": prompt}])
    except RangeError as error:
        raise RangeError(f"{error} --raw continues the prompt without the template.") from error
