"""How likely given answers are: the prompt is read once, each choice behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.core.errors import NonFiniteError
from trimtab.models.decoder import Read, Wanted
from trimtab.text.engine.prefix_tree import Kept
from trimtab.text.engine.sampling import usable
from trimtab.text.engine.scheduler import Scheduler


@dataclass(frozen=True)
class _Prompt:
    kept: Kept
    logits: Tensor


def score_choices(
    scheduler: Scheduler, prompt: tuple[int, ...], choices: Sequence[Sequence[int]], *, adapter: str | None
) -> list[float]:
    """Sum the log-probabilities of each choice's tokens after a prompt.

    Args:
        scheduler: whose decoder reads, and whose tree may know the prompt.
        prompt: token ids, at least one.
        choices: token ids of each, at least one.
        adapter: None is the bare base.

    Raises:
        NonFiniteError: a logit is no number.
    """
    if not choices:
        return []
    read = _read_prompt(scheduler, prompt, adapter)
    scheduler.counters.reused += len(prompt) * (len(choices) - 1)
    try:
        scores = []
        for begin in range(0, len(choices), scheduler.batch):
            scores += _score_some(scheduler, read, choices[begin : begin + scheduler.batch])
        return scores
    finally:
        scheduler.tree.release(read.kept)


def _read_prompt(scheduler: Scheduler, prompt: tuple[int, ...], adapter: str | None) -> _Prompt:
    """Read what of a prompt is not known, and keep it."""
    start = scheduler.begin(adapter, prompt)
    state, logits = start.state, start.logits
    try:
        while state.length < len(prompt):
            part = prompt[state.length : state.length + scheduler.chunk]
            wanted: Wanted = "last" if state.length + len(part) == len(prompt) else "none"
            (rows,) = scheduler.decoder.read([Read(state, part, wanted)])
            scheduler.counters.prefilled += len(part)
            logits = _finite(rows)[0].clone() if wanted == "last" else None
    except BaseException:
        state.close()
        raise
    finally:
        if start.kept is not None:
            scheduler.tree.release(start.kept)
    assert logits is not None  # a prompt has a last token
    return _Prompt(scheduler.tree.put(adapter, prompt, state, logits=logits), logits)


def _score_some(scheduler: Scheduler, prompt: _Prompt, choices: Sequence[Sequence[int]]) -> list[float]:
    """Score as many choices as are read in one pass; a choice of one token needs no reading."""
    longer = [index for index, choice in enumerate(choices) if len(choice) > 1]
    states = [prompt.kept.state.fork() for _ in longer]
    reads = [Read(state, tuple(choices[index][:-1]), "all") for index, state in zip(longer, states, strict=True)]
    try:
        results = scheduler.decoder.read(reads) if reads else []
        scheduler.counters.prefilled += sum(len(read.tokens) for read in reads)
    finally:
        for state in states:
            state.close()
    rest = dict(zip(longer, results, strict=True))
    none = prompt.logits[None][:0]
    return [_total(torch.cat([prompt.logits[None], rest.get(n, none)]), choice) for n, choice in enumerate(choices)]


def _total(logits: Tensor, choice: Sequence[int]) -> float:
    """Sum the log-probabilities of a choice, (choice, vocabulary) logits."""
    logs = _finite(logits).double().log_softmax(dim=1)
    return float(logs[torch.arange(len(choice)), list(choice)].sum())


def _finite(logits: Tensor) -> Tensor:
    if not all(usable(logits)):
        raise NonFiniteError("the logits of a choice are not finite. Check the model and the adapter.")
    return logits
