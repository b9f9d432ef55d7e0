"""The training job: an iterator of progress events that can be stopped anywhere and taken up again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trimtab.core import device as devices
from trimtab.core.errors import NonFiniteError
from trimtab.core.interrupt import Interrupted, Interrupts
from trimtab.core.job import Event, Job, Note, Progress, Result, Saved, Started
from trimtab.core.memory import peak_bytes
from trimtab.core.seeds import put_state, seed_everything, take_state
from trimtab.models.language_model import LanguageModel
from trimtab.models.save import save_model
from trimtab.models.tokenizer import read_tokenizer
from trimtab.nn.freeze import trainable
from trimtab.optim import PagedAdamW, factor
from trimtab.store.adapter import save_adapter
from trimtab.store.checkpoint import newest_valid
from trimtab.store.durable import write_bytes
from trimtab.store.lock import RunLock
from trimtab.store.safetensors import checkpoint_files
from trimtab.train.data import Batch, Batches
from trimtab.train.evaluate import held_out_loss
from trimtab.train.metrics import Metrics
from trimtab.train.prepare import TrainingData, build_model, read_data
from trimtab.train.request import TrainRequest, file_sha256, identity, refuse_other_run
from trimtab.train.state import RunState, refuse_non_finite_weights, restore_state, save_state
from trimtab.train.step import accumulate_gradients, finish_step

CHECKPOINTS = "checkpoints"
ADAPTER = "adapter"
BEST = "adapter-best"
MODEL = "model"


def train(request: TrainRequest) -> Job:
    """Fine-tune, yielding progress; the last event is the result.

    Run again with the same request, it continues from the newest valid checkpoint to the same bits as if it had never
    been stopped. Ctrl-C and SIGTERM save the last finished step and raise ``Interrupted``.

    Raises:
        LockedError: another process works in the run folder.
        UsageError: the folder holds another run.
        DataError: rows cannot be used; every one is named.
        NonFiniteError: a loss, gradient or weight is no number; the last good checkpoint stands.
        CheckpointError: a checkpoint cannot be written or taken up.
    """
    yield Started(f"training {request.model_name or request.model.name}", str(request.out))
    request.out.mkdir(parents=True, exist_ok=True)
    interrupts = Interrupts()
    with RunLock(request.out), interrupts.catching():
        write_bytes(request.out / "config.toml", request.settings.to_toml().encode())
        tokenizer = read_tokenizer(request.model)
        data = read_data(request, tokenizer)
        yield from (Note(note) for note in data.notes)
        run = _Run.prepare(request, data)
        yield from run.take_up()
        try:
            for event in run.work(interrupts):
                with interrupts.deferred():  # a signal that finds the consumer at work is raised here, not there
                    yield event
        except (Interrupted, GeneratorExit):
            with interrupts.deferred():
                run.put_down()
            raise
        except NonFiniteError as error:
            raise NonFiniteError(f"{error} {run.last_good()}") from error
        finally:
            run.metrics.close()
        yield from run.finish()


@dataclass
class _Run:
    """A run in progress; its parts in one place."""

    request: TrainRequest
    data: TrainingData
    model: LanguageModel
    optimizer: PagedAdamW
    batches: Batches
    identity: dict[str, str]
    metrics: Metrics
    state: RunState

    @classmethod
    def prepare(cls, request: TrainRequest, data: TrainingData) -> _Run:
        """Load everything; the adapter is drawn from the run's own seed."""
        settings = request.settings
        device = devices.pick(request.device)
        seed_everything(settings.seed)
        model = build_model(request, device)
        optimizer = PagedAdamW(
            trainable(model.net).items(),
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
            bits=settings.optimizer_bits,
            budget_bytes=settings.optimizer_budget or None,
            page_folder=request.out,
        )
        files = sorted({*checkpoint_files(request.model).values(), request.model / "config.json"})
        own = identity(settings, data_sha256=data.sha256, model_sha256=file_sha256(files), device=str(device.type))
        metrics = Metrics(request.out, tensorboard=request.tensorboard)
        batches = data.batches(request)
        batches.keep_apart(model.net)
        return cls(request, data, model, optimizer, batches, own, metrics, RunState())

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        settings = self.request.settings
        if settings.steps:
            return settings.steps
        return max(1, math.ceil(self.batches.batches_per_epoch * settings.epochs / settings.accumulate))

    def take_up(self) -> Iterator[Event]:
        """Continue from the newest valid checkpoint, or begin."""
        loaded, skipped = newest_valid(self.request.out / CHECKPOINTS)
        for bad in skipped:
            yield Note(f"{bad.path} cannot be trusted and is passed over: {bad.reason}.", "warning")
        if loaded is None:
            self.state.random = take_state()
            self.state.cursor = self.batches.state()
            self.metrics.rewind(-1)
            return
        refuse_other_run(self.identity, loaded.document("state")["identity"], self.request.out)
        self.state = restore_state(loaded, self.model, self.optimizer)
        self.batches.load_state(self.state.cursor)
        self.metrics.rewind(self.state.step)
        yield Note(f"continuing after step {self.state.step} of {self.total_steps} ({loaded.path}).")

    def work(self, interrupts: Interrupts) -> Iterator[Event]:
        """Evaluate, then step until a limit is met, saving and evaluating on the way."""
        settings, state = self.request.settings, self.state
        if state.finished and state.step < self.total_steps and not self._out_of_time():
            state.finished = ""
        if state.eval_before is None and self.data.held_out and not state.finished:
            yield from self._evaluate()
            state.eval_before = state.eval_loss
        while not state.finished:
            yield from self._step(interrupts)
            state.finished = self._reason_to_stop()
            if settings.eval_every and state.step % settings.eval_every == 0 and not state.finished:
                yield from self._evaluate()
                state.finished = self._reason_to_stop()
            if state.step % settings.save_every == 0 and not state.finished:
                with interrupts.deferred():
                    path = self.put_down()
                yield Saved("checkpoint", path)

    def _step(self, interrupts: Interrupts) -> Iterator[Event]:
        settings, state = self.request.settings, self.state
        began = time.perf_counter()
        group: list[Batch] = [next(self.batches) for _ in range(settings.accumulate)]
        lr = settings.lr * factor(
            state.step, kind=settings.schedule, warmup_steps=settings.warmup_steps, total_steps=self.total_steps
        )
        self.model.net.train()
        loss, targets = accumulate_gradients(self.model, group)
        with interrupts.deferred():
            norm = finish_step(self.model, self.optimizer, lr=lr, clip_norm=settings.clip_norm)
            refuse_non_finite_weights({n: p.detach() for n, p in trainable(self.model.net).items()})
            tokens, seconds = sum(batch.tokens for batch in group), time.perf_counter() - began
            state.step, state.loss = state.step + 1, loss
            state.tokens, state.elapsed_s = state.tokens + tokens, state.elapsed_s + seconds
            state.cursor, state.random = self.batches.state(), take_state()
        values = {
            "loss": loss,
            "lr": lr,
            "grad_norm": norm,
            "tokens": tokens,
            "targets": targets,
            "tokens_per_s": tokens / seconds,
            "memory_bytes": peak_bytes(self.model.device),
            "elapsed_s": state.elapsed_s,
        }
        self.metrics.add(state.step, values)
        yield Progress("training", state.step, self.total_steps, "steps", values)

    def _evaluate(self) -> Iterator[Event]:
        """Measure held-out loss without moving any generator, and keep the best adapter."""
        state, settings = self.state, self.request.settings
        before = take_state()
        examples = self.data.held_out[: settings.eval_limit]
        loss = held_out_loss(self.model, examples, batch_size=settings.batch_size, pad_id=self.data.pad_id)
        put_state(before)
        state.eval_loss = loss
        self.metrics.add(state.step, {"eval_loss": loss})
        yield Progress("evaluating", len(examples), len(examples), "examples", {"eval_loss": loss, "step": state.step})
        if loss < state.best_loss:
            state.best_loss, state.best_step, state.failures = loss, state.step, 0
            if state.step and settings.eval_every and settings.method != "full":
                save_adapter(self.model.net, self.request.out / BEST, base=str(self.request.model))
        else:
            state.failures += 1

    def _reason_to_stop(self) -> str:
        settings, state = self.request.settings, self.state
        if state.step >= self.total_steps:
            return "all steps done"
        if self._out_of_time():
            return f"time limit of {settings.time_limit_s:g} s"
        if settings.patience and state.failures >= settings.patience:
            return f"no better held-out loss in {state.failures} evaluations"
        return ""

    def _out_of_time(self) -> bool:
        """Tell whether one more step as long as the mean one would pass the limit."""
        limit, state = self.request.settings.time_limit_s, self.state
        return bool(limit) and state.elapsed_s * (1 + 1 / max(state.step, 1)) > limit

    def put_down(self) -> str:
        """Save the last finished step."""
        folder, keep = self.request.out / CHECKPOINTS, self.request.settings.keep
        path = save_state(folder, self.state, self.model, self.optimizer, identity=self.identity, keep=keep)
        return str(path)

    def last_good(self) -> str:
        """Say where the run can be taken up after a failure."""
        loaded, _ = newest_valid(self.request.out / CHECKPOINTS)
        return f"The last good checkpoint is {loaded.path}." if loaded else "No checkpoint had been written yet."

    def finish(self) -> Iterator[Event]:
        """Measure once more, write the adapter and the last checkpoint, and give the result."""
        if self.data.held_out:
            yield from self._evaluate()
        yield Saved("checkpoint", self.put_down())
        adapter = self._write_weights()
        yield Saved("weights", adapter)
        yield Result(self._result(adapter))

    def _write_weights(self) -> str:
        if self.request.settings.method == "full":
            return str(save_model(self.model.net, self.request.model, self.request.out / MODEL))
        return str(save_adapter(self.model.net, self.request.out / ADAPTER, base=str(self.request.model)))

    def _result(self, adapter: str) -> dict[str, Any]:
        state = self.state
        return {
            "adapter": adapter,
            "out": str(self.request.out),
            "steps": state.step,
            "stopped_by": state.finished,
            "loss": state.loss,
            "eval_loss_before": state.eval_before,
            "eval_loss_after": state.eval_loss,
            "tokens": state.tokens,
            "tokens_per_s": state.tokens / max(state.elapsed_s, 1e-9),
            "seconds": state.elapsed_s,
            "peak_bytes": peak_bytes(self.model.device),
        }
