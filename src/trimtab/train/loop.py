"""The training job: an iterator of progress events that can be stopped anywhere and taken up again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trimtab.core.errors import NonFiniteError
from trimtab.core.interrupt import Interrupted, Interrupts
from trimtab.core.job import Event, Job, Note, Started
from trimtab.models.tokenizer import read_tokenizer
from trimtab.store.durable import write_bytes
from trimtab.store.lock import RunLock
from trimtab.train.prepare import TrainingData, read_data
from trimtab.train.questions import Questions
from trimtab.train.request import TrainRequest
from trimtab.train.work import Work


def train(request: TrainRequest) -> Job:
    """Fine-tune, yielding progress; the last event is the result.

    Run again with the same request, it continues from the newest valid checkpoint to the same bits as if it had never
    been stopped. Ctrl-C and SIGTERM save the last finished step and raise ``Interrupted``.

    Raises:
        LockedError: another process works in the run folder.
        UsageError: the folder holds another run.
        ResourceError: the disk has no room for the checkpoints.
        DataError: rows cannot be used; every one is named.
        RangeError: the warm-up is longer than the run.
        NonFiniteError: a loss, gradient or weight is no number; the last good checkpoint stands.
        CheckpointError: a checkpoint cannot be written or taken up.
    """
    yield Started(f"training {request.model_name or request.model.name}", str(request.out))
    request.out.mkdir(parents=True, exist_ok=True)
    interrupts = Interrupts()
    with RunLock(request.out), interrupts.catching():
        tokenizer = read_tokenizer(request.model)
        data = read_data(request, tokenizer)
        yield from (Note(note) for note in data.notes)
        work = Work.prepare(request, data, interrupts)
        try:
            for event in _events(work, _questions(request, data, tokenizer)):
                with interrupts.deferred():  # a signal that finds the consumer at work is raised here, not there
                    yield event
        except (Interrupted, GeneratorExit):
            with interrupts.deferred():
                work.put_down()
            raise
        except NonFiniteError as error:
            raise NonFiniteError(f"{error} {work.last_good()}") from error
        finally:
            work.close()


def _events(work: Work, questions: Questions) -> Iterator[Event]:
    """Take up what there is, then train, asking the held-out prompts before and after."""
    yield from work.take_up()
    write_bytes(work.request.out / "config.toml", work.request.settings.to_toml().encode())
    questions.begin(continued=bool(work.saved))
    if work.may_be_asked_before():
        yield from questions.ask(work.model, moment="before")
    yield from work.steps()
    yield from questions.ask(work.model, moment="after")
    yield from work.finish()


def _questions(request: TrainRequest, data: TrainingData, tokenizer: Any) -> Questions:
    return Questions(request.out, data, tokenizer, count=request.questions, max_tokens=request.answer_tokens)
