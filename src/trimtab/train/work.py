"""A run in progress: its parts, its steps, its evaluations, and how it is put down and taken up."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trimtab.core import device as devices
from trimtab.core.interrupt import Interrupts
from trimtab.core.job import Event, Note, Progress, Result, Saved
from trimtab.core.memory import peak_bytes
from trimtab.core.seeds import put_state, seed_everything, take_state
from trimtab.models.language_model import LanguageModel
from trimtab.models.save import save_model
from trimtab.nn.freeze import trainable
from trimtab.optim import PagedAdamW, factor
from trimtab.store.adapter import save_adapter
from trimtab.store.checkpoint_read import newest_valid
from trimtab.train.data import Batch, Batches
from trimtab.train.evaluate import held_out_loss
from trimtab.train.limits import evaluation_is_planned, expected_steps, reason_to_stop, total_steps
from trimtab.train.metrics import Metrics
from trimtab.train.prepare import TrainingData, build_model
from trimtab.train.request import TrainRequest, identity, refuse_other_run
from trimtab.train.resume import changes_around, find_checkpoint
from trimtab.train.space import require_space
from trimtab.train.state import RunState, refuse_non_finite_weights, restore_state, save_state, saved_document
from trimtab.train.step import accumulate_gradients, finish_step

CHECKPOINTS = "checkpoints"
ADAPTER = "adapter"
BEST = "adapter-best"
MODEL = "model"


@dataclass
class Work:
    """What a run works with, in one place.

    ``saved`` is the checkpoint that holds the present state, empty where none does; ``total_steps`` are the optimizer
    steps of the whole run.
    """

    request: TrainRequest
    data: TrainingData
    interrupts: Interrupts
    model: LanguageModel
    optimizer: PagedAdamW
    batches: Batches
    total_steps: int
    identity: dict[str, str]
    metrics: Metrics
    state: RunState
    saved: str = ""

    @classmethod
    def prepare(cls, request: TrainRequest, data: TrainingData, interrupts: Interrupts) -> Work:
        """Load everything; the adapter is drawn from the run's own seed."""
        settings = request.settings
        device = devices.pick(request.device)
        seed_everything(settings.seed)
        batches = data.batches(request)
        total = total_steps(settings, batches_per_epoch=batches.batches_per_epoch)
        model = build_model(request, device)
        require_space(model, settings, request.out / CHECKPOINTS)
        batches.keep_apart(model.net)
        optimizer = PagedAdamW(
            trainable(model.net).items(),
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
            bits=settings.optimizer_bits,
            budget_bytes=settings.optimizer_budget or None,
            page_folder=request.out,
        )
        own = identity(request, data_sha256=data.sha256, device=device.type)
        metrics = Metrics(request.out, tensorboard=request.tensorboard)
        gc.collect(1)
        gc.freeze()  # the network lives as long as the run; the collector need not walk it every step
        return cls(request, data, interrupts, model, optimizer, batches, total, own, metrics, RunState())

    def take_up(self) -> Iterator[Event]:
        """Continue from the newest valid checkpoint, or begin."""
        loaded, warnings = find_checkpoint(self.request.out / CHECKPOINTS)
        yield from warnings
        if loaded is None:
            self.state.cursor = self.batches.state()
            self.state.random = take_state()
            self.metrics.rewind(-1)
            return
        document = saved_document(loaded)
        refuse_other_run(self.identity, document["identity"], self.request.out)
        yield from changes_around(document["versions"])
        self.state, self.saved = restore_state(loaded, self.model, self.optimizer), str(loaded.path)
        self.batches.load_state(self.state.cursor)
        self.metrics.rewind(self.state.step)
        yield Note(f"continuing after step {self.state.step} of {self.total_steps} ({loaded.path}).")

    def may_be_asked_before(self) -> bool:
        """Tell whether the untouched base can still be asked: always under an adapter, else before the first step."""
        return self.request.settings.method != "full" or self.state.step == 0

    def steps(self) -> Iterator[Event]:
        """Evaluate, then step until a limit is met, saving and evaluating on the way."""
        settings, state = self.request.settings, self.state
        while True:
            if self._evaluation_is_due():
                yield from self._evaluate()
            state.finished = reason_to_stop(settings, state, total=self.total_steps)
            if state.finished:
                return
            if state.step and not self.saved and (state.step % settings.save_every == 0 or self._is_best()):
                with self.interrupts.deferred():
                    path = self.put_down()
                yield Saved("checkpoint", path)
            yield self._step()

    def _step(self) -> Progress:
        settings, state = self.request.settings, self.state
        began = time.perf_counter()
        group: list[Batch] = [next(self.batches) for _ in range(settings.accumulate)]
        lr = settings.lr * factor(
            state.step, kind=settings.schedule, warmup_steps=settings.warmup_steps, total_steps=self.total_steps
        )
        self.model.net.train()
        loss, targets = accumulate_gradients(self.model, group)
        with self.interrupts.deferred():
            norm = finish_step(self.model, self.optimizer, lr=lr, clip_norm=settings.clip_norm)
            refuse_non_finite_weights({n: p.detach() for n, p in trainable(self.model.net).items()})
            tokens, seconds = sum(batch.tokens for batch in group), time.perf_counter() - began
            self.saved = ""
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
                "seconds": seconds,
                "elapsed_s": state.elapsed_s,
            }
            self.metrics.add(state.step, values)
        expected = expected_steps(settings, state, total=self.total_steps)
        return Progress("training", state.step, expected, "steps", values)

    def _evaluation_is_due(self) -> bool:
        is_planned = evaluation_is_planned(self.request.settings, self.state.step)
        return bool(self.data.held_out) and is_planned and self.state.evaluated != self.state.step

    def _evaluate(self) -> Iterator[Event]:
        """Measure held-out loss without moving any generator, and keep the best adapter."""
        state, settings = self.state, self.request.settings
        before = take_state()
        examples = self.data.held_out[: settings.eval_limit]
        loss = held_out_loss(self.model, examples, batch_size=settings.batch_size, pad_id=self.data.pad_id)
        put_state(before)
        with self.interrupts.deferred():
            self.saved = ""
            state.eval_loss, state.evaluated = loss, state.step
            if state.step == 0:
                state.eval_before = loss
            self.metrics.add(state.step, {"eval_loss": loss})
            self._judge(loss)
        yield Progress("evaluating", len(examples), len(examples), "examples", {"eval_loss": loss, "step": state.step})

    def _judge(self, loss: float) -> None:
        """Remember the best; only evaluations that the settings plan count against the run's patience."""
        state, settings = self.state, self.request.settings
        if loss >= state.best_loss:
            state.failures += evaluation_is_planned(settings, state.step)
            return
        state.best_loss, state.best_step, state.failures = loss, state.step, 0
        if state.step and settings.eval_every and settings.method != "full":
            self._save_adapter(BEST)

    def _is_best(self) -> bool:
        return self.request.settings.eval_every > 0 and self.state.best_step == self.state.step

    def put_down(self) -> str:
        """Save the last finished step, unless it is saved already or there is none."""
        if not self.saved and self.state.random is not None:
            self.metrics.sync()
            folder, keep = self.request.out / CHECKPOINTS, self.request.settings.keep
            path = save_state(folder, self.state, self.model, self.optimizer, identity=self.identity, keep=keep)
            self.saved = str(path)
        return self.saved

    def last_good(self) -> str:
        """Say where the run can be taken up after a failure."""
        loaded, _ = newest_valid(self.request.out / CHECKPOINTS)
        return f"The last good checkpoint is {loaded.path}." if loaded else "No checkpoint had been written yet."

    def finish(self) -> Iterator[Event]:
        """Measure once more, write the adapter and the last checkpoint, and give the result."""
        if self.data.held_out and self.state.evaluated != self.state.step:
            yield from self._evaluate()
        with self.interrupts.deferred():
            path = self.put_down()
        yield Saved("checkpoint", path)
        adapter = self._write_weights()
        yield Saved("weights", adapter)
        yield Result(self._result(adapter))

    def close(self) -> None:
        """Give back what outlives no run."""
        self.metrics.close()
        self.optimizer.close()
        gc.unfreeze()

    def _write_weights(self) -> str:
        if self.request.settings.method == "full":
            return str(save_model(self.model.net, self.request.model, self.request.out / MODEL))
        return self._save_adapter(ADAPTER)

    def _save_adapter(self, name: str) -> str:
        base, sha256 = str(self.request.model), self.identity["model"]
        return str(save_adapter(self.model.net, self.request.out / name, base=base, base_sha256=sha256))

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
            "best_step": state.best_step if self.data.held_out else None,
            "tokens": state.tokens,
            "tokens_per_s": state.tokens / max(state.elapsed_s, 1e-9),
            "seconds": state.elapsed_s,
            "peak_bytes": peak_bytes(self.model.device),
            "model_sha256": self.identity["model"],
            "data_sha256": self.identity["data"],
        }
