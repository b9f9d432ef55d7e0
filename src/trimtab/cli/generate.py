"""``trimtab generate``: one prompt, one answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.adapted import AsStored, trained_quantization
from trimtab.cli.console import AsJson, Debug, Device, ModelArgument, Output, Quiet, Seed, show
from trimtab.core.errors import UsageError
from trimtab.core.job import Job, Result


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
    work_offline()

    def job() -> Job:
        quantization = trained_quantization(folder, adapter, as_stored=as_stored, quiet=quiet)
        adapters = {} if adapter is None else {DEFAULT_ADAPTER: adapter}
        speaker = Speaker.load(folder, adapters=adapters, quantization=quantization, device=pick(device))
        asked = prompt if raw else speaker.chat_prompt([{"role": "user", "content": prompt}])
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
