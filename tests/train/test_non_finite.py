"""NaN and infinity stop a run at once, by name, and never reach the disk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import tiny
from train_runs import Making, run, run_until
from trimtab.core.errors import NonFiniteError
from trimtab.core.job import Progress
from trimtab.models.language_model import LanguageModel
from trimtab.nn.freeze import trainable
from trimtab.optim import PagedAdamW
from trimtab.store.checkpoint_read import newest_valid
from trimtab.train.finite import first_non_finite
from trimtab.train.loop import train
from trimtab.train.metrics import Metrics
from trimtab.train.request import TrainRequest
from trimtab.train.settings import TrainSettings
from trimtab.train.state import refuse_non_finite_state
from trimtab.train.step import finish_step

BAD = [math.nan, math.inf, -math.inf]


def _spoiled(folder: Path, name: str, value: float) -> Path:
    net = tiny.llama(hidden_size=32, intermediate_size=64)
    with torch.no_grad():
        net.get_parameter(name).view(-1)[7] = value
    return tiny.save(net, folder, with_tokenizer=True)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("lora", "model.layers.1.mlp.up_proj.weight"),
        ("full", "model.layers.0.input_layernorm.weight"),
        ("qlora", "model.embed_tokens.weight"),
        ("qlora", "model.layers.1.mlp.up_proj.weight"),
        ("int8", "model.layers.0.self_attn.q_proj.weight"),
    ],
)
def test_a_base_weight_that_is_no_number_is_refused_by_name(
    making: Making, tmp_path: Path, method: str, name: str, value: float
) -> None:
    request = making(model=_spoiled(tmp_path / "spoiled", name, value), method=method)
    with pytest.raises(NonFiniteError, match=name):
        run(request)
    assert not (request.out / "checkpoints").exists()


def test_a_scale_that_is_no_number_is_found_in_a_quantized_network(base: Path) -> None:
    from trimtab.nn.linear import quantize_linears

    net = quantize_linears(tiny.llama(), double=False)
    net.get_submodule("model.layers.0.mlp.up_proj").absmax[3] = math.nan
    assert first_non_finite(net) == "model.layers.0.mlp.up_proj.absmax"


class Saboteur:
    """Runs until a step is done, then spoils the network."""

    def __init__(self, request: TrainRequest, spoil: Callable[[nn.Module], None]) -> None:
        self.request, self.spoil = request, spoil
        self.shown: list[float] = []

    def run(self, patched: pytest.MonkeyPatch) -> None:
        nets: list[nn.Module] = []
        original = LanguageModel.__init__

        def remember(model: LanguageModel, net: nn.Module) -> None:
            nets.append(net)
            original(model, net)

        patched.setattr(LanguageModel, "__init__", remember)
        for event in train(self.request):
            if isinstance(event, Progress) and event.what == "training":
                self.shown.append(event.values["loss"])
                if event.done == 2:
                    self.spoil(nets[0])


def _spoil_lora(net: nn.Module) -> None:
    name = next(name for name in trainable(net) if "layers.1" in name)
    with torch.no_grad():
        net.get_parameter(name).view(-1)[0] = math.nan


def _spoil_embedding(net: nn.Module) -> None:
    with torch.no_grad():
        net.get_parameter("model.embed_tokens.weight").fill_(math.inf)


@pytest.mark.parametrize(
    ("spoil", "named"), [(_spoil_lora, "layers.1"), (_spoil_embedding, "model.embed_tokens.weight")]
)
def test_a_weight_that_turns_bad_stops_the_run_at_that_step_and_names_it(
    making: Making, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[nn.Module], None], named: str
) -> None:
    saboteur = Saboteur(making(save_every=1), spoil)
    with pytest.raises(NonFiniteError, match=named) as stopped:
        saboteur.run(monkeypatch)
    assert len(saboteur.shown) == 2
    assert "rows.jsonl:" in str(stopped.value) or "weight" in str(stopped.value)


@pytest.mark.parametrize("spoil", [_spoil_lora, _spoil_embedding])
def test_nothing_that_is_no_number_is_on_disk_after_such_a_stop(
    making: Making, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[nn.Module], None]
) -> None:
    request = making(save_every=1)
    with pytest.raises(NonFiniteError):
        Saboteur(request, spoil).run(monkeypatch)
    for path in request.out.rglob("*.safetensors"):
        assert all(t.isfinite().all() for t in load_file(path).values() if t.is_floating_point())
    assert all(math.isfinite(value) for line in _lines(request) for value in line.values())


def _lines(request: TrainRequest) -> list[dict[str, float]]:
    return [json.loads(line) for line in (request.out / "metrics.jsonl").read_text().splitlines()]


def test_the_last_good_checkpoint_is_named_and_can_be_taken_up(making: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    request = making(save_every=1)
    with monkeypatch.context() as patched, pytest.raises(NonFiniteError, match=r"The last good checkpoint is .*step-1"):
        Saboteur(request, _spoil_lora).run(patched)
    assert run(request)[-1].to_json()["steps"] == 4


@pytest.mark.parametrize("method", ["qlora", "full"])
def test_a_learning_rate_without_reason_stops_the_run(making: Making, method: str) -> None:
    settings = {"weight_decay": 100.0, "clip_norm": 0.0, "optimizer_bits": 32}
    request = making(lr=100.0, steps=300, method=method, save_every=1000, **settings)
    with pytest.raises(NonFiniteError, match="No checkpoint had been written yet"):
        run(request)
    assert all(line.get("loss", 1.0) > 0.0 for line in _lines(request))


def test_a_loss_that_is_no_number_names_its_rows(making: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    request = making(save_every=1, eval_fraction=0.0)
    run_until(request, 2)
    original = LanguageModel.loss_sum
    monkeypatch.setattr(LanguageModel, "loss_sum", lambda *given: (original(*given)[0] * math.nan, 1))
    with pytest.raises(NonFiniteError, match=r"the loss became nan on the rows .*rows.jsonl:\d+.*step-2"):
        run(request)


def test_a_held_out_loss_that_is_no_number_names_its_rows(making: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    original = LanguageModel.loss_sum
    monkeypatch.setattr(LanguageModel, "loss_sum", lambda *given: (original(*given)[0] * math.inf, 1))
    with pytest.raises(NonFiniteError, match=r"held-out loss is inf on the rows .*rows.jsonl:\d+"):
        run(making())


@pytest.mark.parametrize("value", BAD)
def test_a_gradient_that_is_no_number_changes_no_weight(base: Path, value: float) -> None:
    from trimtab.nn.lora import LoraSettings, add_lora

    net = add_lora(tiny.llama(), LoraSettings(rank=2))
    model, learning = LanguageModel(net), trainable(net)
    before = {name: parameter.detach().clone() for name, parameter in learning.items()}
    for parameter in learning.values():
        parameter.grad = torch.ones_like(parameter)
    worst = list(learning)[3]
    learning[worst].grad.view(-1)[0] = value  # type: ignore[union-attr]
    with pytest.raises(NonFiniteError, match=worst):
        finish_step(model, PagedAdamW(learning.items(), lr=0.1), lr=0.1, clip_norm=0.3)
    assert all(torch.equal(before[name], parameter) for name, parameter in learning.items())


@pytest.mark.parametrize("value", BAD)
def test_optimizer_state_that_is_no_number_is_not_saved(value: float) -> None:
    with pytest.raises(NonFiniteError, match=r"layer\.exp_avg_sq"):
        refuse_non_finite_state({"layer.step": torch.tensor(1), "layer.exp_avg_sq": torch.tensor([1.0, value])})


def test_overflowing_optimizer_state_keeps_the_older_checkpoint(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = making(save_every=1)
    run_until(request, 2)
    honest = PagedAdamW.tensors
    monkeypatch.setattr(
        PagedAdamW, "tensors", lambda self: {name: t.float() * math.inf for name, t in honest(self).items()}
    )
    with pytest.raises(NonFiniteError, match=r"the optimizer's .* is not finite"):
        run(request)
    loaded, _ = newest_valid(request.out / "checkpoints")
    assert loaded is not None
    assert loaded.step == 2


@pytest.mark.parametrize("value", BAD)
def test_a_measurement_that_is_no_number_is_never_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Metrics(tmp_path).add(1, {"loss": value})
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_settings_take_no_nan() -> None:
    with pytest.raises(ValueError, match="lr = nan"):
        TrainSettings(lr=math.nan)
