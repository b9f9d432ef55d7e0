"""How likely given answers are: the prompt is read once, each choice behind it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.core.errors import NonFiniteError
from trimtab.models.decoder import Read, State, Wanted
from trimtab.text.engine.prefix_tree import Kept
from trimtab.text.engine.sampling import usable
from trimtab.text.engine.scheduler import Scheduler


@dataclass(frozen=True)
class _Prompt:
    kept: Kept
    logits: Tensor


@dataclass(frozen=True)
class _Part:
    """Some successive tokens of a choice that are read in one pass; each gives the chances of the next."""

    choice: int
    start: int
    end: int


def score_choices(
    scheduler: Scheduler, prompt: tuple[int, ...], choices: Sequence[Sequence[int]], *, adapter: str | None
) -> Generator[None, None, list[float]]:
    """Sum the log-probabilities of each choice's tokens after a prompt; yields after each pass of the decoder.

    Args:
        scheduler: whose decoder reads, and whose tree may know the prompt.
        prompt: token ids, at least one.
        choices: token ids of each, at least one.
        adapter: None is the bare base.

    Returns:
        One sum a choice.

    Raises:
        NonFiniteError: a logit is no number.
    """
    if not choices:
        return []
    read = yield from _read_prompt(scheduler, prompt, adapter)
    scheduler.counters.reused += len(prompt) * (len(choices) - 1)
    states: dict[int, State] = {}
    try:
        scores = [_total(read.logits[None], choice[:1]) for choice in choices]
        for parts in _passes([len(choice) for choice in choices], scheduler):
            for part, score in zip(parts, _score(scheduler, read, choices, parts, states), strict=True):
                scores[part.choice] += score
            yield
        return scores
    finally:
        for state in states.values():
            state.close()
        scheduler.tree.release(read.kept)


def _read_prompt(scheduler: Scheduler, prompt: tuple[int, ...], adapter: str | None) -> Generator[None, None, _Prompt]:
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
            yield
    except BaseException:
        state.close()
        raise
    finally:
        if start.kept is not None:
            scheduler.tree.release(start.kept)
    assert logits is not None  # a prompt has a last token
    return _Prompt(scheduler.tree.put(adapter, prompt, state, logits=logits), logits)


def _passes(lengths: Sequence[int], scheduler: Scheduler) -> Iterator[list[_Part]]:
    """Cut what is read of choices into passes of few enough tokens and rows; of a choice's last token nothing is."""
    parts: list[_Part] = []
    room = scheduler.chunk
    for choice, length in enumerate(lengths):
        start = 0
        while start < length - 1:
            end = min(length - 1, start + room)
            parts.append(_Part(choice, start, end))
            start, room = end, room - (end - start)
            if not room or len(parts) == scheduler.batch:
                yield parts
                parts, room = [], scheduler.chunk
    if parts:
        yield parts


def _score(
    scheduler: Scheduler,
    prompt: _Prompt,
    choices: Sequence[Sequence[int]],
    parts: Sequence[_Part],
    states: dict[int, State],
) -> list[float]:
    """Read parts of choices in one pass, and sum over each; a choice that goes on keeps its state for the next one."""
    for part in parts:
        if part.choice not in states:
            states[part.choice] = prompt.kept.state.fork()
    reads = [Read(states[part.choice], tuple(choices[part.choice][part.start : part.end]), "all") for part in parts]
    results = scheduler.decoder.read(reads)
    scheduler.counters.prefilled += sum(len(read.tokens) for read in reads)
    for part in parts:
        if part.end == len(choices[part.choice]) - 1:
            states.pop(part.choice).close()
    following = (choices[part.choice][part.start + 1 : part.end + 1] for part in parts)
    return [_total(rows, tokens) for rows, tokens in zip(results, following, strict=True)]


def _total(logits: Tensor, tokens: Sequence[int]) -> float:
    """Sum the log-probabilities of tokens, (tokens, vocabulary) logits."""
    logs = _finite(logits).double().log_softmax(dim=1)
    return float(logs[torch.arange(len(tokens)), list(tokens)].sum())


def _finite(logits: Tensor) -> Tensor:
    if not all(usable(logits)):
        raise NonFiniteError("the logits of a choice are not finite. Check the model and the adapter.")
    return logits
