"""``trimtab demo qlora``: a real model, frozen in 4 bits, learns something visible in a few minutes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trimtab.core.job import Event, Job, Note, Result, without_result
from trimtab.core.words import human_bytes

if TYPE_CHECKING:
    from collections.abc import Generator

    from trimtab.train.questions import Answered
    from trimtab.train.request import TrainRequest

MODEL: Final = "smollm2"
DATA: Final = "word_problems.jsonl"
BEHAVIOUR: Final = "answers that end in '#### number'"
PATTERN: Final = r"####\s*-?[\d.,]+\s*$"
QUESTIONS: Final = 8
ANSWER_TOKENS: Final = 110
SHOWN: Final = 2


def tune(out: Path, seconds: float, seed: int) -> Job:
    """Freeze a real language model in 4 bits, tune it on word problems, and compare before and after."""
    from trimtab.core.device import work_offline
    from trimtab.train.questions import read_answers
    from trimtab.train.run import run

    yield Note("1. The model", "heading")
    model = yield from _added()
    work_offline()
    base = out / "base-nf4"
    yield Note("2. Frozen in 4 bits (NF4, double quantization)", "heading")
    sizes = yield from _quantized(model, base)
    yield Note("3. The plan, and the training", "heading")
    request = _request(base, out, seconds, seed)
    values = yield from without_result(run(request, behaviours={BEHAVIOUR: PATTERN}))
    yield from _comparison(read_answers(out), values)
    yield Note("Next:", "heading")
    yield Note(f"trimtab chat {base} --adapter {values['adapter']}")
    yield Note(f"trimtab train {MODEL} --data your.jsonl --show")
    yield Note(f"trimtab serve {base} --adapter {values['adapter']}  # both side by side in a browser")
    yield Result({**values, **sizes})


def _added() -> Generator[Event, None, Path]:
    """Give the model's folder, fetching it first where it is not in the store."""
    from trimtab.store.cards import models_folder
    from trimtab.store.fetching import add_model

    folder = models_folder() / MODEL
    if not folder.is_dir():
        yield from without_result(add_model(MODEL))
    yield Note(f"SmolLM2-135M-Instruct, 134.5 million parameters ({folder}).")
    return folder


def _quantized(model: Path, base: Path) -> Generator[Event, None, dict[str, Any]]:
    """Write the 4-bit model, unless an earlier run of the demo did."""
    from trimtab.models.config import CONFIG_NAME
    from trimtab.models.quantize_folder import quantize_folder
    from trimtab.store.safetensors import SINGLE_NAME

    if not (base / CONFIG_NAME).is_file():
        yield from without_result(quantize_folder(model, base))
    before, after = ((folder / SINGLE_NAME).stat().st_size for folder in (model, base))
    yield Note(
        f"{human_bytes(before)} -> {human_bytes(after)}; the embedding stays as it was, every linear layer shrinks."
    )
    return {"bytes_before": before, "bytes_after": after}


def _request(base: Path, out: Path, seconds: float, seed: int) -> TrainRequest:
    from trimtab.train.request import TrainRequest
    from trimtab.train.settings import TrainSettings

    settings = TrainSettings(
        epochs=100.0,
        batch_size=4,
        accumulate=1,
        max_length=192,
        lr=1e-3,
        schedule="constant",
        warmup_steps=3,
        rank=16,
        alpha=16.0,
        clip_norm=1.0,
        eval_fraction=0.07,
        eval_limit=16,
        save_every=20,
        time_limit_s=seconds,
        seed=seed,
    )
    data = str(files("trimtab.cli").joinpath("demo_data", DATA))
    return TrainRequest(base, data, out, settings, MODEL, questions=QUESTIONS, answer_tokens=ANSWER_TOKENS)


def _comparison(answered: list[Answered], values: dict[str, Any]) -> Job:
    """Show what changed, in the answers themselves."""
    yield Note("4. Before and after, on problems it never learned from", "heading")
    for item in answered[:SHOWN]:
        yield Note(f"Q       {_line(item.prompt)}")
        yield Note(f"before  {_line(item.before)}")
        yield Note(f"after   {_line(item.after)}\n")
    before, after, among = values["behaviours"][BEHAVIOUR]
    yield Note(f"{BEHAVIOUR}: {before} -> {after} of {among}")
    yield Note(f"held-out loss: {values['eval_loss_before']:.3f} -> {values['eval_loss_after']:.3f}")
    yield Note("It learned the form of a worked answer; 135 million parameters do not learn arithmetic in minutes.")


def _line(text: str) -> str:
    return " / ".join(part.strip() for part in text.strip().splitlines() if part.strip())
